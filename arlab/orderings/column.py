"""Column order: column by column, from left to right."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arlab.orderings.traversal import Traversal


class Column(Traversal):
    """Predict the next token in column-major order: down the first column, then down the next.

    The mirror of ``Raster``, to ask whether the direction matters. Of several frames (T, H, W) one after the other;
    on one axis it is ``Raster``. One token a step.
    """

    def __init__(self) -> None:
        super().__init__()

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        cells = torch.arange(math.prod(grid)).view(-1, *grid[-2:])
        return list(cells.transpose(-1, -2).flatten().split(1))
