"""How fast a diffusion drowns data in noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.ranges import require

_MOST_STEPS = 10000
_LEAST_SIGNAL = 1e-5
"""The least √ᾱ: what float32 rounds off x_t is then about a hundredth in the data that predicted noise stands for."""


class NoiseSchedule(Configurable, ABC):
    """β_0 to β_{T-1} of q(x_t | x_{t-1}) = N(√(1 - β_t) x_{t-1}, β_t)."""

    num_train_steps: int
    """T."""

    @abstractmethod
    def betas(self) -> Tensor:
        """All β, each in (0, 1), (T,) float64."""


class CosineSchedule(NoiseSchedule):
    """ᾱ_t = cos²(π/2 · (t/T + 0.008) / 1.008), each β at most ``largest``: MAR's.

    Improved Denoising Diffusion Probabilistic Models, arXiv 2102.09672.

    Args:
        num_train_steps: T.
        largest: β where it would be larger.
    """

    def __init__(self, *, num_train_steps: int = 1000, largest: float = 0.999) -> None:
        require("schedule.num_train_steps", num_train_steps, at_least=2, at_most=_MOST_STEPS)
        # Below that the end of the chain would be data still.
        require("schedule.largest", largest, at_least=0.1, at_most=0.9999)
        self.num_train_steps = num_train_steps
        self.largest = largest

    def betas(self) -> Tensor:
        edge = torch.arange(self.num_train_steps + 1, dtype=torch.float64) / self.num_train_steps
        kept = ((edge + 0.008) / 1.008 * math.pi / 2).cos().square()
        return (1 - kept[1:] / kept[:-1]).clamp(max=self.largest)


class LinearSchedule(NoiseSchedule):
    """β from ``first`` to ``last`` in even steps; some of the data must be left at the last level, √ᾱ at least 1e-5.

    Denoising Diffusion Probabilistic Models (DDPM), arXiv 2006.11239.

    Args:
        num_train_steps: T; fewer steps need a larger ``last`` to come to noise.
        first: β_0.
        last: β_{T-1}.
    """

    def __init__(self, *, num_train_steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> None:
        require("schedule.num_train_steps", num_train_steps, at_least=2, at_most=_MOST_STEPS)
        require("schedule.first", first, at_least=1e-6, at_most=0.9)
        require("schedule.last", last, at_least=first, at_most=0.9999)
        self.num_train_steps = num_train_steps
        self.first = first
        self.last = last
        if self._signal(num_train_steps) < _LEAST_SIGNAL:
            most = bisect_left(range(num_train_steps), True, lo=3, key=lambda n: self._signal(n) < _LEAST_SIGNAL) - 1
            raise ValueError(
                f"schedule.last: {num_train_steps} steps from {first} must leave {_LEAST_SIGNAL} of the data, more "
                f"than this does; choose a smaller one, or num_train_steps of at most {most}, got {last}"
            )

    def betas(self) -> Tensor:
        return self._betas(self.num_train_steps)

    def _betas(self, number: int) -> Tensor:
        return torch.linspace(self.first, self.last, number, dtype=torch.float64, device="cpu")

    def _signal(self, number: int) -> float:
        """√ᾱ of the last of so many levels."""
        return float((1 - self._betas(number)).prod().sqrt())
