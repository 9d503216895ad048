"""``arlab describe ORDERING --grid 8x6 --out plan.png``: what an ordering plans on a grid, as a picture or a film."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arlab.cli.catalogue import Component

SUFFIXES = (".png", ".gif")
_MOST_AXES = 3
_MOST_DIGITS = 9


def check_out(out: Path) -> None:
    """See that a picture can be written there, before work is put into it.

    Raises:
        ValueError: it is neither .png nor .gif, or it cannot be written.
    """
    from arlab.runs.files import refuse_unwritable

    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"out: must be a .png or .gif file, got {out}")
    if out.is_dir():
        raise ValueError(f"out: {out} is a folder; name a file")
    refuse_unwritable("out", out)


def parse_grid(word: str) -> tuple[int, ...]:
    """(8, 6) for 8x6.

    Raises:
        ValueError: it is not one, two or three sides of at least 1.
    """
    sides = word.lower().split("x")
    if len(sides) > _MOST_AXES or not all(re.fullmatch(rf"0*[1-9][0-9]{{0,{_MOST_DIGITS - 1}}}", s) for s in sides):
        raise ValueError(f"grid: expected N, HxW or TxHxW with sides of at least 1, as 8x6, got {word!r}")
    return tuple(map(int, sides))


def write_plan(found: Sequence[Component], options: Sequence[str], grid: tuple[int, ...], out: Path) -> str:
    """Write the picture (.png) or the film (.gif) of an ordering's plan; what to tell of it.

    Args:
        found: the component that was named.
        options: of its constructor, as KEY=VALUE.
        grid: to plan on.
        out: the file.

    Raises:
        ValueError: it is no ordering, does not take the options, or refuses the grid.
    """
    from arlab.discovery import named
    from arlab.drawing.plan import read_plan
    from arlab.orderings.ordering import Ordering
    from arlab.runs.files import written_whole

    component = found[0]
    if component.abstract or not issubclass(component.cls, Ordering):
        raise ValueError(f"{component.name}: only an ordering has a plan to draw (arlab list orderings)")
    plan = read_plan(named([component.name, *options], Ordering, "name"), grid)
    if out.suffix.lower() == ".png":
        from arlab.drawing.plan_picture import plan_picture
        from arlab.images import save_png

        save_png(plan_picture(plan), out)
        return plan.headline
    from arlab.drawing.plan_film import plan_frames, save_film, shown_steps

    with written_whole(out) as draft:
        save_film(plan_frames(plan), draft)
    return f"{plan.headline}, {len(shown_steps(plan))} frames"
