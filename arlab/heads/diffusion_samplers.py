"""How a diffusion goes from a noise level to the one before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from arlab.configurable import Configurable
from arlab.heads.noise_levels import NoiseLevel, evenly
from arlab.ranges import require

Fresh = Callable[[], Tensor]
"""Standard normal noise of x's shape for this step."""


@dataclass(frozen=True)
class Guess:
    """What is thought of noised tokens: the data in them, and the logarithm of a step's variance."""

    data: Tensor
    log_variance: Tensor


class DiffusionSampler(Configurable, ABC):
    """A walk from noise to data, level by level; from the first level it comes to the data as it is thought to be."""

    def levels(self, num_levels: int, num_steps: int) -> Tensor:
        """Which S of T levels it walks through, rising: S = num_steps looks."""
        return evenly(num_levels, num_steps)

    def ahead(self, guess: Guess, level: NoiseLevel, before: tuple[Guess, NoiseLevel]) -> Guess:
        """What is thought of the data on the way to the next level; as it was just found, at first order.

        Args:
            guess: what was thought at this level.
            level: this level.
            before: what was thought at the level that the walk came from, and that level.
        """
        return guess

    @abstractmethod
    def begin(self, noise: Tensor, temperature: float) -> Tensor:
        """Where it begins, given standard normal noise."""

    @abstractmethod
    def step(self, noisy: Tensor, guess: Guess, level: NoiseLevel, fresh: Fresh, temperature: float) -> Tensor:
        """A value at the level before, which is not data."""


class Ancestral(DiffusionSampler):
    """A draw from p(x_{t-1} | x_t). Temperature multiplies the noise of these steps alone, as in MAR.

    Denoising Diffusion Probabilistic Models (DDPM), arXiv 2006.11239.
    """

    def __init__(self) -> None:
        pass

    def begin(self, noise: Tensor, temperature: float) -> Tensor:
        return noise

    def step(self, noisy: Tensor, guess: Guess, level: NoiseLevel, fresh: Fresh, temperature: float) -> Tensor:
        mean = level.from_data * guess.data + level.from_noisy * noisy
        return mean + (0.5 * guess.log_variance).exp() * fresh() * temperature


class DDIM(DiffusionSampler):
    """√ᾱ' x + √(1 - ᾱ' - s²) ε + s · noise, with x and ε as they are thought to be and s² = η² · the small variance.

    Without noise (η = 0) fewer steps do. Temperature multiplies the noise it begins with, and that of steps.

    Denoising Diffusion Implicit Models, arXiv 2010.02502.

    Args:
        eta: η.
    """

    def __init__(self, *, eta: float = 0.0) -> None:
        require("sampler.eta", eta, at_least=0, at_most=1)
        self.eta = eta

    def begin(self, noise: Tensor, temperature: float) -> Tensor:
        return temperature * noise

    def step(self, noisy: Tensor, guess: Guess, level: NoiseLevel, fresh: Fresh, temperature: float) -> Tensor:
        noise = _noise(noisy, guess, level)
        spread = self.eta * (0.5 * level.log_small).exp()
        mean = (
            level.signal_before * guess.data
            + (level.sigma_before.square() - spread.square()).clamp(min=0).sqrt() * noise
        )
        return mean + spread * temperature * fresh() if self.eta else mean


class DPMSolver2M(DiffusionSampler):
    """DDIM's step with the data a straight line in λ = log(√ᾱ / √(1 - ᾱ)) through the last two looks: second order.

        x' = (σ' / σ) x - √ᾱ' (e^(-h) - 1) D,   D = x_0 + h / (2 h_before) · (x_0 - x_0 before),   h = λ' - λ

    One look a level, no noise on the way; the first step, which has no look before it, is DDIM's. The levels are S + 1
    evenly spaced ones without the first, from where λ would make its largest leap. Temperature multiplies the noise it
    begins with.

    DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models, arXiv 2211.01095.
    """

    def __init__(self) -> None:
        pass

    def levels(self, num_levels: int, num_steps: int) -> Tensor:
        # Where all are walked through, the first is one of them.
        return evenly(num_levels, num_steps + 1)[1:] if num_steps < num_levels else evenly(num_levels, num_steps)

    def begin(self, noise: Tensor, temperature: float) -> Tensor:
        return temperature * noise

    def ahead(self, guess: Guess, level: NoiseLevel, before: tuple[Guess, NoiseLevel]) -> Guess:
        former, other = before
        now = level.signal.log() - level.sigma.log()
        then = level.signal_before.log() - level.sigma_before.log()
        share = (then - now) / (2 * (now - other.signal.log() + other.sigma.log()))
        return replace(guess, data=guess.data + share * (guess.data - former.data))

    def step(self, noisy: Tensor, guess: Guess, level: NoiseLevel, fresh: Fresh, temperature: float) -> Tensor:
        return level.signal_before * guess.data + level.sigma_before * _noise(noisy, guess, level)


def _noise(noisy: Tensor, guess: Guess, level: NoiseLevel) -> Tensor:
    """The noise that is left of x_t where the data is what it is thought to be."""
    return (noisy - level.signal * guess.data) / level.sigma
