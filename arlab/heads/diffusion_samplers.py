"""How a diffusion goes from a noise level to the one before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from arlab.configurable import Configurable
from arlab.heads.noise_levels import NoiseLevel
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
        noise = (noisy - level.signal * guess.data) / level.sigma
        spread = self.eta * (0.5 * level.log_small).exp()
        mean = (
            level.signal_before * guess.data
            + (level.sigma_before.square() - spread.square()).clamp(min=0).sqrt() * noise
        )
        return mean + spread * temperature * fresh() if self.eta else mean
