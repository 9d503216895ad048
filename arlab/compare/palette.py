"""One colour, dash and marker per row, the same in every picture; told apart without seeing colours, too.

Colours: Okabe and Ito, Color Universal Design, without the yellow, which white paper swallows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Dash = Literal["-", "--", ":", "-."]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#333333")
_DASHES: tuple[Dash, ...] = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")


@dataclass(frozen=True)
class Look:
    """How a row is drawn.

    Attributes:
        colour: as hexadecimal digits.
        dash: of its lines, in the words of matplotlib.
        marker: of its points, likewise.
    """

    colour: str
    dash: Dash
    marker: str


def look_of(number: int) -> Look:
    """The look of a row by its number; after 28 rows they begin anew."""
    return Look(
        _COLOURS[number % len(_COLOURS)],
        _DASHES[number // len(_COLOURS) % len(_DASHES)],
        _MARKERS[number % len(_MARKERS)],
    )
