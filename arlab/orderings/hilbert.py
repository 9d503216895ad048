"""Hilbert order: a curve that stays near where it has been, on boxes of any sides.

Letters: N cells of a box, A axes.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from arlab.orderings.traversal import Traversal

_CURVES_KEPT = 128


class Hilbert(Traversal):
    """Predict the next token along a Hilbert curve generalised to any sides, of one, two or three axes.

    Each token is a neighbour of the one before it, on every grid; on squares of 2^k x 2^k it is Hilbert's own curve.
    It begins in the first corner and ends at the other end of the longest even side (of the longest side, where all
    are odd): on a chessboard every move changes the colour, so that elsewhere it could not end. One token a step.
    """

    def __init__(self) -> None:
        super().__init__()

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        if len(grid) > 3:
            raise ValueError(f"ordering: Hilbert walks grids of one to three axes, the tokenizer has {grid}")
        axes = sorted(range(len(grid)), key=lambda axis: (grid[axis] % 2 == 0, grid[axis], axis), reverse=True)
        sides = [grid[axis] for axis in axes] + [1] * (3 - len(grid))
        path_NA = _curve(sides[0], sides[1], sides[2])
        index_N = torch.zeros(len(path_NA), dtype=torch.int64)
        for axis, side in enumerate(grid):
            index_N = index_N * side + path_NA[:, axes.index(axis)]
        return list(index_N.split(1))


@functools.lru_cache(_CURVES_KEPT)
def _curve(along: int, broad: int, high: int) -> Tensor:
    """Cells (N, 3) of a box in the order of a curve from its first corner to the other end of its first side.

    There is one where ``along`` is even and where all sides are odd (and it is not 1 alone); every box below is such.
    """
    if broad < high:
        return _curve(along, high, broad)[:, [0, 2, 1]]
    if broad == 1:
        return torch.nn.functional.pad(torch.arange(along)[:, None], (0, 2))
    if along > 3 and 2 * along > 3 * broad:
        # Long: two boxes one behind the other. The first is even, the other as odd as the whole.
        cut, across = _even_half(along), ((1, 0, broad - 1), (2, 0, high - 1))
        return torch.cat([_box((0, 0, cut - 1), *across), _box((0, cut, along - 1), *across)])
    if high == 1 or along % 2:
        return _there_and_back(along, broad, high)
    if high % 2 and not broad % 2:
        return _cube(along, high, broad)[:, [0, 2, 1]]
    return _cube(along, broad, high)


def _there_and_back(along: int, broad: int, high: int) -> Tensor:
    """Out on one half of the box, across its far end, back on the other half: what Hilbert's curve does in a square."""
    out = (broad - along // 2) // 2 * 2 if 2 * broad > 3 * along else _even_half(broad)
    half, top = along // 2, high - 1
    return torch.cat(
        [
            _box((1, 0, out - 1), (0, 0, half - 1), (2, 0, top)),
            _box((0, 0, along - 1), (1, out, broad - 1), (2, 0, top)),
            _box((1, out - 1, 0), (0, along - 1, half), (2, 0, top)),
        ]
    )


def _cube(along: int, broad: int, high: int) -> Tensor:
    """The same with three axes: out, up, across the top of the near half, down, back.

    ``high`` is even, or both halves of ``along`` are odd: what runs up and down has a corner to end in.
    """
    out = _even_half(broad)
    half = along // 2 | high % 2
    floor = high // 2
    return torch.cat(
        [
            _box((1, 0, out - 1), (0, 0, half - 1), (2, 0, floor - 1)),
            _box((2, 0, high - 1), (0, 0, half - 1), (1, out, broad - 1)),
            _box((0, 0, along - 1), (1, out - 1, 0), (2, high - 1, floor)),
            _box((2, high - 1, 0), (0, along - 1, half), (1, out, broad - 1)),
            _box((1, out - 1, 0), (0, along - 1, half), (2, 0, floor - 1)),
        ]
    )


def _box(*spans: tuple[int, int, int]) -> Tensor:
    """The curve in a box, given by (axis, first, last) for each axis, the one it runs along first."""
    sides = [abs(last - first) + 1 for _, first, last in spans]
    path_NA = _curve(sides[0], sides[1], sides[2])
    column = {axis: first + (1 if last >= first else -1) * path_NA[:, k] for k, (axis, first, last) in enumerate(spans)}
    return torch.stack([column[axis] for axis in range(len(spans))], dim=1)


def _even_half(side: int) -> int:
    """About half of a side: an even number, or 1 of 2."""
    return min((side + 2) // 4 * 2, side - 1)
