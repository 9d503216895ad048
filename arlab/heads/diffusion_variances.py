"""The variance of a diffusion's steps from noise to data."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from arlab.configurable import Configurable
from arlab.heads.noise_levels import NoiseLevel
from arlab.ranges import require


class StepVariance(Configurable, ABC):
    """log Σ of p(x_{t-1} | x_t) = N(mean, Σ)."""

    learned: bool = False
    """Whether the denoiser says a number about it for each value of a token."""
    weight: float = 0.0
    """What its own loss counts beside the squared error."""

    @abstractmethod
    def log(self, said: Tensor, level: NoiseLevel) -> Tensor:
        """log Σ, to go with ``said``: what the denoiser says of it, or anything of that shape where it says nothing."""


class SmallVariance(StepVariance):
    """That of q(x_{t-1} | x_t, x_0): right where there is only one x_0."""

    def __init__(self) -> None:
        pass

    def log(self, said: Tensor, level: NoiseLevel) -> Tensor:
        return level.log_small.expand_as(said)


class LargeVariance(StepVariance):
    """β: right where data is standard normal itself."""

    def __init__(self) -> None:
        pass

    def log(self, said: Tensor, level: NoiseLevel) -> Tensor:
        return level.log_small.where(level.first > 0, level.log_large).expand_as(said)


class LearnedRange(StepVariance):
    """Σ between the two, exp(f log β + (1 - f) log small) with f = (v + 1) / 2, v from the denoiser: MAR's.

    v is trained by the variational bound, in bits per value, through which no gradient reaches the mean.

    Improved Denoising Diffusion Probabilistic Models, arXiv 2102.09672.

    Args:
        weight: what that bound counts in the loss.
    """

    learned = True

    def __init__(self, *, weight: float = 1.0) -> None:
        # At zero nothing would train v.
        require("variance.weight", weight, above=0, at_most=1e6)
        self.weight = weight

    def log(self, said: Tensor, level: NoiseLevel) -> Tensor:
        share = (said + 1) / 2
        return share * level.log_large + (1 - share) * level.log_small
