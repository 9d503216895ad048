"""The scales of VAR and FlexVAR, which their tensors do not tell one by one."""

from __future__ import annotations

from collections.abc import Sequence

from arlab.orderings.step import Layout
from arlab.pyramids.grids import check_sides, layout_of

SCALES_256 = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
"""Of 256 x 256 pixels."""
SCALES_512 = [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]
"""Of 512 x 512 pixels."""
_KEY = "patch_nums"


def scales_of(patch_nums: Sequence[int | Sequence[int]]) -> Layout:
    """The grids of scales that end with the latent's own; a number is a side of a square where that one is square.

    Raises:
        ValueError: there is no scale, a side is below 1, or they shrink.
    """
    check_sides(patch_nums, _KEY)
    last = patch_nums[-1]
    finest = (last, last) if isinstance(last, int) else tuple(last)
    if len(finest) != 2:
        raise ValueError(f"{_KEY}: expected sides or [height, width], got {list(finest)}")
    return layout_of(patch_nums, finest, _KEY)


def finest_of(layout: Layout) -> tuple[int, int]:
    """Height and width of the latent."""
    height, width = layout.finest
    return height, width
