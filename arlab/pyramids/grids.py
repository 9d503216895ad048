"""The grids of levels as a configuration gives them: numbers, or sides along each axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from arlab.orderings.step import Layout

Sides = Sequence[int | Sequence[int]]
MOST_LEVELS = 1000


def check_sides(sides: Sides | None, key: str) -> None:
    """Refuse what fits no latent at all.

    Raises:
        ValueError: no level, far too many, or a side below 1.
    """
    if sides is None:
        return
    if not 1 <= len(sides) <= MOST_LEVELS:
        raise ValueError(f"{key}: expected 1 to {MOST_LEVELS} levels, got {len(sides)}")
    for level in sides:
        each = [level] if isinstance(level, int) else list(level)
        if not each or min(each) < 1:
            raise ValueError(f"{key}: every side must be at least 1, got {level}")


def layout_of(sides: Sides | None, shape: tuple[int, ...], key: str) -> Layout:
    """The levels of a latent of this shape, from the coarsest to its own grid.

    A number n is n cells along the latent's longest axis and as many along the others as keeps their proportion,
    rounded, at least one: on (4, 6) the numbers 1, 2, 3, 6 are (1, 1), (1, 2), (2, 3), (4, 6). A list gives the
    sides along each axis. None halves the latent, rounding down, until one cell is left: (1, 1), (2, 3), (4, 6).

    Raises:
        ValueError: a level has other axes or is smaller than the one before, or the last is not the latent's own grid.
    """
    if sides is None:
        return Layout(_halvings(shape))
    grids = tuple(_proportional(level, shape) if isinstance(level, int) else tuple(level) for level in sides)
    wanted = list(shape)
    for number, grid in enumerate(grids):
        if len(grid) != len(shape):
            raise ValueError(f"{key}: level {number} is {list(grid)}, but the latent has {len(shape)} axes, {wanted}")
    _refuse_shrinking(grids, key)
    if grids[-1] != shape:
        raise ValueError(f"{key}: the last level is {list(grids[-1])}, but must be the latent's own grid, {wanted}")
    return Layout(grids)


def scales(sides: Sides, finest: tuple[int, ...], key: str) -> Layout:
    """Grids of these sizes, in the proportions of a finest grid, which need not be the last of them.

    Raises:
        ValueError: a size is below 1, has other axes or is smaller than the one before.
    """
    check_sides(sides, key)
    grids = tuple(_proportional(level, finest) if isinstance(level, int) else tuple(level) for level in sides)
    for grid in grids:
        if len(grid) != len(finest):
            raise ValueError(f"{key}: {list(grid)} is no grid of {len(finest)} axes like {list(finest)}")
    _refuse_shrinking(grids, key)
    return Layout(grids)


def _refuse_shrinking(grids: Sequence[tuple[int, ...]], key: str) -> None:
    for number, (before, grid) in enumerate(pairwise(grids), start=1):
        if any(side < other for side, other in zip(grid, before, strict=True)):
            told = f"level {number} is {list(grid)} after {list(before)}"
            raise ValueError(f"{key}: levels must not shrink, but {told}")


def _proportional(cells: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    longest = max(shape)
    return tuple(max(1, (2 * cells * side + longest) // (2 * longest)) for side in shape)


def _halvings(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    grids = [shape]
    while max(grids[0]) > 1:
        grids.insert(0, tuple(max(1, side // 2) for side in grids[0]))
    return tuple(grids)
