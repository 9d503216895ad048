"""Snake order: rows to the right and to the left in turn, as an ox ploughs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arlab.orderings.traversal import Traversal


class Snake(Traversal):
    """Predict the next token in boustrophedon order: every other row backwards, of frames every other one, too.

    Each token is a neighbour of the one before it, on every grid. One token a step.
    """

    def __init__(self) -> None:
        super().__init__()

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        cells = torch.arange(math.prod(grid))
        for axis in range(1, len(grid)):
            # The lines along this axis in the order in which they are visited: each second one is turned round.
            lines = cells.view(math.prod(grid[:axis]), grid[axis], -1)
            lines[1::2] = lines[1::2].flip(1)
        return list(cells.split(1))
