"""How a map is brought to another grid: area averages down, an interpolation up.

Letters: B batch, C channels, S sides (N,), (h, w) or (t, h, w).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn import functional as F

from arlab.configurable import Configurable

_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def area(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Adaptive average pooling (B, C, *S) to (B, C, *shape); the map itself where it has that shape already."""
    return values if tuple(values.shape[2:]) == shape else F.interpolate(values, shape, mode="area")


class Interpolation(Configurable, ABC):
    """From a coarse grid to a fine one; a constant map stays constant."""

    def __call__(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(B, C, *S) to (B, C, *shape); the map itself where it has that shape already."""
        return values if tuple(values.shape[2:]) == shape else self.resized(values, shape)

    @abstractmethod
    def resized(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(B, C, *S) to (B, C, *shape)."""


class Bicubic(Interpolation):
    """Cubic convolution along every axis (a = -0.75), cell centres on cell centres, as in VAR."""

    def __init__(self) -> None:
        pass

    def resized(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        if len(shape) == 2:
            return F.interpolate(values, shape, mode="bicubic")
        # The filter is separable, and torch has it for two axes only: one axis at a time, beside an axis of one cell.
        for axis, side in enumerate(shape, start=2):
            lines = values.movedim(axis, -1)
            resized = F.interpolate(lines.reshape(1, -1, 1, lines.shape[-1]), (1, side), mode="bicubic")
            values = resized.reshape(*lines.shape[:-1], side).movedim(-1, axis)
        return values


class Bilinear(Interpolation):
    """Linear along every axis (trilinear on three of them), cell centres on cell centres, as in Infinity."""

    def __init__(self) -> None:
        pass

    def resized(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        return F.interpolate(values, shape, mode=_LINEAR[len(shape)])


class Nearest(Interpolation):
    """Every cell takes the value of the coarse cell it lies in."""

    def __init__(self) -> None:
        pass

    def resized(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        return F.interpolate(values, shape, mode="nearest")
