"""Which images of a comparison are shown, and beside which.

Letters: P pictures of a class, S steps, I images followed, G generated images, C channels, H and W sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from arlab.compare.pictures import shrink
from arlab.compare.record import Row, Shown

_MOST_PIXELS = 16_000_000


@dataclass(frozen=True)
class Samples:
    """Images of one class.

    Attributes:
        name: of the class; '' for data without classes.
        real_PCHW: real ones; None where there are none.
        of_rows: (P, C, H, W) of each row; None where it has none.
    """

    name: str
    real_PCHW: Tensor | None
    of_rows: tuple[Tensor | None, ...]


def samples(rows: Sequence[Row]) -> tuple[Samples, ...]:
    """Images of the first run of each row, class by class."""
    shown = [row.members[0].shown for row in rows]
    names = dict.fromkeys(name for each in shown for name in each.class_names)
    found = []
    for name in names:
        real = (_of_class(each, each.real_KPCHW, name) for each in shown)
        of_rows = tuple(_of_class(each, each.grid_KPCHW, name) for each in shown)
        if any(each is not None for each in of_rows):
            found.append(Samples(name, next((each for each in real if each is not None), None), of_rows))
    return tuple(found)


def affordable(found: Sequence[Samples]) -> int:
    """How many classes a page of some ten megabytes holds; one at least."""
    if not found:
        return 0
    images = [each for each in (found[0].real_PCHW, *found[0].of_rows) if each is not None]
    pixels = sum(each.numel() // shrink(tuple(each.shape[-2:])) ** 2 for each in images)
    return max(1, _MOST_PIXELS // max(1, pixels))


def strip(row: Row) -> tuple[tuple[int, Tensor], ...]:
    """The steps shown of its first run, each with what is known after it, (I, C, H, W)."""
    shown = row.members[0].shown
    if shown.strip_SICHW.numel() == 0:
        return ()
    return tuple(zip(shown.strip_steps, shown.strip_SICHW, strict=False))


def neighbours(row: Row) -> tuple[Tensor, Tensor] | None:
    """Generated images of its first run and the training images nearest to them, (G, C, H, W) both."""
    shown = row.members[0].shown
    if shown.neighbour_GCHW.numel() == 0 or shown.nearest_GCHW.shape != shown.neighbour_GCHW.shape:
        return None
    return shown.neighbour_GCHW, shown.nearest_GCHW


def _of_class(shown: Shown, image_KPCHW: Tensor, name: str) -> Tensor | None:
    if name not in shown.class_names or image_KPCHW.numel() == 0:
        return None
    number = shown.class_names.index(name)
    return image_KPCHW[number] if number < len(image_KPCHW) else None
