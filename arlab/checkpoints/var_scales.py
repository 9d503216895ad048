"""The scales of VAR and FlexVAR, which their tensors do not tell one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from arlab.checkpoints.family import MOST_TOKENS, Family
from arlab.configurable import from_spec
from arlab.orderings.step import Layout
from arlab.pyramids.grids import check_sides, layout_of

SCALES_256 = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
"""Of 256 x 256 pixels."""
SCALES_512 = [1, 2, 3, 4, 6, 9, 13, 18, 24, 32]
"""Of 512 x 512 pixels."""
_KEY = "patch_nums"
F = TypeVar("F", bound=Family)


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
    layout = layout_of(patch_nums, finest, _KEY)
    if layout.num_tokens > MOST_TOKENS:
        raise ValueError(f"{_KEY}: expected at most {MOST_TOKENS} tokens in all, got {layout.num_tokens}")
    return layout


def told_scales(family: F, args: Mapping[str, object]) -> F:
    """A family with the scales that a training script's own options tell, where they were not given.

    Raises:
        ValueError: what they tell are no sides.
    """
    spec = family.spec()
    given, told = cast("Mapping[str, object]", spec["init_args"]), args.get(_KEY)
    if told is None or given.get(_KEY) is not None:
        return family
    if not isinstance(told, Sequence) or not all(type(side) is int and side > 0 for side in told):
        raise ValueError(f"{_KEY}: expected sides from 1 on, got {told!r}")
    return from_spec({**spec, "init_args": {**given, _KEY: list(told)}}, type(family))


def finest_of(layout: Layout) -> tuple[int, int]:
    """Height and width of the latent."""
    height, width = layout.finest
    return height, width
