"""What the denoiser of a diffusion predicts; all say the same, but with other weights and errors."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from arlab.configurable import Configurable
from arlab.heads.noise_levels import NoiseLevel


class DiffusionTarget(Configurable, ABC):
    """A quantity from which, with x_t, follows the data."""

    @abstractmethod
    def of(self, data: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        """Its true value."""

    @abstractmethod
    def data(self, said: Tensor, noisy: Tensor, level: NoiseLevel) -> Tensor:
        """The data that it stands for."""


class PredictsNoise(DiffusionTarget):
    """ε (DDPM, MAR): an error of it is one of √(1 - ᾱ) / √ᾱ of the data, without bound as noise grows."""

    def __init__(self) -> None:
        pass

    def of(self, data: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        return noise

    def data(self, said: Tensor, noisy: Tensor, level: NoiseLevel) -> Tensor:
        return noisy * (1 / level.signal) - said * (level.sigma / level.signal)


class PredictsVelocity(DiffusionTarget):
    """v = √ᾱ ε - √(1 - ᾱ) x: an error of it is no larger one of the data, at any level.

    Progressive Distillation for Fast Sampling of Diffusion Models, arXiv 2202.00512.
    """

    def __init__(self) -> None:
        pass

    def of(self, data: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        return level.signal * noise - level.sigma * data

    def data(self, said: Tensor, noisy: Tensor, level: NoiseLevel) -> Tensor:
        return level.signal * noisy - level.sigma * said


class PredictsData(DiffusionTarget):
    """x itself; where there is little noise the answer is nearly given, and the loss hardly tells."""

    def __init__(self) -> None:
        pass

    def of(self, data: Tensor, noise: Tensor, level: NoiseLevel) -> Tensor:
        return data

    def data(self, said: Tensor, noisy: Tensor, level: NoiseLevel) -> Tensor:
        return said
