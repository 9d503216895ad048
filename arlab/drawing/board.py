"""Where the cells of a layout lie on a picture: a panel per level and per frame, in lines like words.

Letters: N tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from arlab.orderings.step import Layout

LABEL = 18
_GAP = 14
_LARGEST, _SMALLEST = 40, 25
_USUAL, _WIDEST = 560, 1600
_LINE = 32
_LABEL_WIDTH = 70


@dataclass(frozen=True)
class Board:
    """Cells in pixels.

    Attributes:
        cell: side of a cell.
        corners: left and top of each token's cell.
        labels: left, top and text over the panels; none where there is one panel.
        width: of everything. height: of everything.
    """

    cell: int
    corners: tuple[tuple[int, int], ...]
    labels: tuple[tuple[int, int, str], ...]
    width: int
    height: int

    def box(self, token: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of a token's cell, its border included."""
        left, top = self.corners[token]
        return left, top, left + self.cell, top + self.cell

    def centre(self, token: int) -> tuple[float, float]:
        """The middle of a token's cell."""
        left, top = self.corners[token]
        return left + self.cell / 2, top + self.cell / 2


@dataclass(frozen=True)
class _Panel:
    """A level, or a frame of one: its tokens row by row, ``width`` in a row."""

    label: str
    tokens: int
    width: int

    @property
    def height(self) -> int:
        return -(-self.tokens // self.width)


def lay_out(layout: Layout, largest: int = _LARGEST) -> Board:
    """A board that begins at (0, 0); its cells are as large as the number of tokens allows, but no larger than this."""
    panels = list(_panels(layout))
    longest = max(max(panel.height, panel.width) for panel in panels)
    fitting = round(_USUAL / math.sqrt(layout.num_tokens))
    cell = max(1, min(largest, max(_SMALLEST, fitting), _WIDEST // longest))
    label, least = (LABEL, _LABEL_WIDTH) if len(panels) > 1 else (0, 0)
    sizes = [(max(least, panel.width * cell), panel.height * cell + label) for panel in panels]
    area = sum((width + _GAP) * (height + _GAP) for width, height in sizes)
    line = max(*(width for width, _ in sizes), round(1.25 * math.sqrt(area)))

    corners: list[tuple[int, int]] = []
    labels: list[tuple[int, int, str]] = []
    left = top = deep = right = 0
    for panel, (across, down) in zip(panels, sizes, strict=True):
        if left and left + across > line:
            left, top, deep = 0, top + deep + _GAP, 0
        if label:
            labels.append((left, top, panel.label))
        places = (divmod(index, panel.width) for index in range(panel.tokens))
        corners += [(left + column * cell, top + label + row * cell) for row, column in places]
        right, deep = max(right, left + across), max(deep, down)
        left += across + _GAP
    return Board(cell, tuple(corners), tuple(labels), right + 1, top + deep + 1)


def _panels(layout: Layout) -> Iterator[_Panel]:
    """In the order of tokens; a level of one axis is broken into lines."""
    for level, shape in enumerate(layout.shapes):
        name = f"level {level}" if len(layout.shapes) > 1 else ""
        *frames, height, width = (1, *shape) if len(shape) == 1 else shape
        for frame in range(math.prod(frames)):
            label = " ".join(filter(None, (name, f"t = {frame}" if frames else "")))
            yield _Panel(label, height * width, min(width, _LINE) if len(shape) == 1 else width)
