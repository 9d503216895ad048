"""The noise levels of a diffusion, and what follows from them.

Letters: T levels that are trained on, S of them that are kept, C token vector width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class NoiseLevel:
    """One noise level for each of some tokens; every tensor is (..., 1), to go with (..., C).

    x_t = signal · x_0 + sigma · ε, and q(x_{t-1} | x_t, x_0) = N(from_data · x_0 + from_noisy · x_t, exp(log_small)).

    Attributes:
        time: t in [0, 1) as denoisers are told it.
        signal: √ᾱ_t.
        sigma: √(1 - ᾱ_t).
        signal_before: √ᾱ of the level before, 1 where that is data.
        sigma_before: √(1 - ᾱ) of the level before, 0 where that is data.
        from_data: what x_0 counts in the mean of the level before.
        from_noisy: what x_t counts in it.
        log_small: logarithm of its variance; of the second level's at the first, where it is zero.
        log_large: log β_t.
        first: 1 where the level before is data, else 0.
    """

    time: Tensor
    signal: Tensor
    sigma: Tensor
    signal_before: Tensor
    sigma_before: Tensor
    from_data: Tensor
    from_noisy: Tensor
    log_small: Tensor
    log_large: Tensor
    first: Tensor


class NoiseLevels:
    """A chain of noise levels, held in float64 on the CPU.

    Args:
        betas: β of the T levels, float64.
        index: the levels that are kept, rising; all by default. β is that between kept levels then.
    """

    def __init__(self, betas: Tensor, index: Tensor | None = None) -> None:
        self.index = torch.arange(len(betas)) if index is None else index
        kept = (1 - betas).cumprod(0)[self.index]
        before = torch.cat((kept.new_ones(1), kept[:-1]))
        beta = 1 - kept / before
        small = beta * (1 - before) / (1 - kept)
        # A draw from the first level's is its mean; a variance of zero would have no logarithm.
        small[0] = small[1] if len(small) > 1 else beta[0]
        self.signal = kept.sqrt()
        self.sigma = (1 - kept).sqrt()
        self._columns = torch.stack(
            (
                _times(self.index, len(betas)),
                self.signal,
                self.sigma,
                before.sqrt(),
                (1 - before).sqrt(),
                beta * before.sqrt() / (1 - kept),
                (1 - before) * (1 - beta).sqrt() / (1 - kept),
                small.log(),
                beta.log(),
                torch.arange(len(kept)) == 0,
            ),
            -1,
        )

    def __len__(self) -> int:
        return len(self.index)

    def at(self, number: Tensor, like: Tensor) -> NoiseLevel:
        """The levels of these numbers (below S, on the CPU), on the device and in the precision of ``like``."""
        return _level(self._columns[number].to(like))

    def all(self, like: Tensor) -> list[NoiseLevel]:
        """Every level, likewise."""
        return [_level(row) for row in self._columns.to(like)]


def _level(columns: Tensor) -> NoiseLevel:
    return NoiseLevel(*columns.unsqueeze(-1).unbind(-2))


def evenly(num_levels: int, num_kept: int) -> Tensor:
    """S of T levels, first and last among them: round(i (T - 1) / (S - 1)); only the last where S = 1."""
    if num_kept == 1:
        return torch.tensor([num_levels - 1])
    return (torch.arange(num_kept, dtype=torch.float64) * ((num_levels - 1) / (num_kept - 1))).round().long()


def _times(index: Tensor, num_levels: int) -> Tensor:
    """index / T in float32, next number up where 1000 t would else round to less than it is.

    Then 1000 t rounded down is the index where T = 1000.
    """
    exact = index.double() / num_levels
    time = exact.float()
    short = (1000 * time).double() < 1000 * exact
    return torch.where(short, time.nextafter(torch.ones(())), time).double()
