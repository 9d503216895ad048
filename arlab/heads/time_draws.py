"""Which times a flow is trained on."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.ranges import require


class TimeDraw(Configurable, ABC):
    """A distribution of times on [0, 1], as what it makes of uniform numbers."""

    @abstractmethod
    def __call__(self, uniform: Tensor) -> Tensor:
        """The inverse of the cumulative distribution at these numbers."""


class UniformTime(TimeDraw):
    """All times alike."""

    def __init__(self) -> None:
        pass

    def __call__(self, uniform: Tensor) -> Tensor:
        return uniform


class LogitNormalTime(TimeDraw):
    """t = sigmoid(mean + std · n), n standard normal: the middle more often than the ends (xAR: 0, 1).

    Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, arXiv 2403.03206.

    Args:
        mean: of the logit.
        std: of the logit.
    """

    def __init__(self, *, mean: float = 0.0, std: float = 1.0) -> None:
        require("time_draw.mean", mean, at_least=-20, at_most=20)
        require("time_draw.std", std, above=0, at_most=20)
        self.mean = mean
        self.std = std

    def __call__(self, uniform: Tensor) -> Tensor:
        # The ends themselves would be infinite logits.
        normal: Tensor = torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6))
        return (self.mean + self.std * normal).sigmoid()
