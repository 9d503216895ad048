"""Z-order: quadrant by quadrant, the same inside each."""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.orderings.step import Layout
from arlab.orderings.traversal import Traversal


class ZOrder(Traversal):
    """Predict the next token in Morton order: by the number that the interleaved bits of the coordinates make.

        (y, x) = (y1 y0, x1 x0)  ->  y1 x1 y0 x0

    A block of 2^k x 2^k tokens at a multiple of 2^k is finished before the next one begins, but from block to block
    it jumps. On sides that are no powers of two: the order of the covering power of two, without the cells outside.
    One token a step.
    """

    def __init__(self) -> None:
        super().__init__()

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        cell_NA = Layout((grid,)).cell_NA
        code_N = torch.zeros(len(cell_NA), dtype=torch.int64)
        for bit in reversed(range(max(grid).bit_length())):
            for axis, side in enumerate(grid):
                # Bits that are 0 on the whole axis are left out: the number fits however long one axis is.
                if (side - 1) >> bit:
                    code_N = 2 * code_N + (cell_NA[:, axis] >> bit & 1)
        return list(code_N.argsort().split(1))
