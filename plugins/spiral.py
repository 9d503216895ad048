"""From the centre outwards, ring by ring and turning: one file is all a new ordering takes."""

import itertools
import math

import torch
from torch import Tensor

from arlab.orderings.traversal import Traversal


class Spiral(Traversal):
    """Predict the tokens from the centre outwards, one a step; subjects stand in the middle more often than not."""

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        def outwards(cell: tuple[int, ...]) -> tuple[float, ...]:
            away = [2 * at - (side - 1) for at, side in zip(cell, grid, strict=True)]  # from the centre, in half cells
            turn = math.atan2(*away[-2:]) if len(grid) > 1 else away[0]
            return max(map(abs, away)), round(turn, 6), *cell

        cells = list(itertools.product(*map(range, grid)))  # row by row, as tokens are numbered
        order = sorted(range(len(cells)), key=lambda number: outwards(cells[number]))
        return [torch.tensor([number]) for number in order]
