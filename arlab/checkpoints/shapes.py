"""What the tensors of a published checkpoint tell of its model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

Shape = tuple[int, ...]


class Shapes:
    """Shapes of published tensors by name.

    Args:
        shapes: of all tensors.
    """

    def __init__(self, shapes: Mapping[str, Shape]) -> None:
        self._shapes = dict(shapes)

    def __getitem__(self, name: str) -> Shape:
        """The shape of a tensor.

        Raises:
            ValueError: there is none of this name.
        """
        if name not in self._shapes:
            raise ValueError(f"it has no tensor {name}")
        return self._shapes[name]

    def __contains__(self, name: str) -> bool:
        return name in self._shapes

    def size(self, name: str, axis: int = 0) -> int:
        """The length of an axis.

        Raises:
            ValueError: there is no such tensor, it has no such axis, or it is empty.
        """
        shape = self[name]
        if not -len(shape) <= axis < len(shape):
            raise ValueError(f"its {name} is of shape {shape}, too few axes")
        if min(shape) < 1:
            raise ValueError(f"its {name} is of shape {shape}, which is empty")
        return shape[axis]

    def axes(self, name: str, number: int) -> Shape:
        """The shape of a tensor of so many axes: 2 of a linear map's weights, 4 of a convolution's.

        Raises:
            ValueError: there is no such tensor, it is of another number of axes, or empty.
        """
        shape = self[name]
        if len(shape) != number or min(shape, default=1) < 1:
            raise ValueError(f"its {name} is of shape {shape}, expected {number} axes, none of them empty")
        return shape

    def count(self, pattern: str) -> int:
        """How many there are of 'layers.{}.attention.wqkv.weight', counted from 0 on.

        Raises:
            ValueError: there is none.
        """
        number = next(k for k in itertools.count() if pattern.format(k) not in self._shapes)
        if not number:
            raise ValueError(f"it has no tensor {pattern.format(0)}")
        return number


def square(number: int, what: str) -> tuple[int, int]:
    """The sides of a square grid of so many places.

    Raises:
        ValueError: it is no square.
    """
    side = math.isqrt(number)
    if side * side != number:
        raise ValueError(f"{what}: {number} places are no square grid")
    return side, side
