"""The marks of a plan: text, cells with numbers, arrows, and a sign for each kind of slot."""

from __future__ import annotations

import functools
import math

from PIL import Image, ImageDraw, ImageFont

from arlab.drawing.board import Board
from arlab.drawing.colours import BLACK, FAINT, GRAY, WHITE, Colour, of_kind, on
from arlab.orderings.step import Kind

Point = tuple[float, float]
TEXT = 13
_LEAST_NUMBER = 8
_CORNERS: dict[Kind, tuple[int, float]] = {
    Kind.COND: (4, 0.0),
    Kind.TOKEN: (3, 90.0),
    Kind.LEARNED: (24, 0.0),
    Kind.COMPUTED: (4, 45.0),
    Kind.NOISY: (5, 90.0),
}


class Sheet:
    """A white picture to draw on.

    Args:
        width: in pixels.
        height: in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), WHITE)
        self._draw = ImageDraw.Draw(self.image)

    def text(self, left: float, top: float, text: str, size: int = TEXT, colour: Colour = BLACK) -> None:
        """A line of text from its left upper corner."""
        self._draw.text((left, top), text, fill=colour, font=_font(size))

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour, border: Colour = FAINT) -> None:
        """A rectangle with a thin border."""
        self._draw.rectangle((left, top, right, bottom), fill=fill, outline=border)

    def labels(self, board: Board, left: int, top: int) -> None:
        """What stands over the panels of a board that begins here."""
        for across, down, text in board.labels:
            self.text(left + across, top + down, text, colour=GRAY)

    def cell(self, board: Board, left: int, top: int, token: int, fill: Colour, number: str = "") -> None:
        """A token's cell on a board that begins here; a number that does not fit is left out.

        The number may be filled with blanks from the left, so that all are written as large as the longest.
        """
        x0, y0, x1, y1 = board.box(token)
        border = fill if board.cell < 4 else WHITE if fill != WHITE else FAINT
        self._draw.rectangle((left + x0, top + y0, left + x1, top + y1), fill=fill, outline=border)
        size = _fitting(len(number), board.cell) if number else 0
        if size >= _LEAST_NUMBER:
            middle = (left + (x0 + x1) / 2, top + (y0 + y1) / 2)
            self._draw.text(middle, number.strip(), fill=on(fill), font=_font(size), anchor="mm")

    def arrow(self, start: Point, end: Point, colour: Colour, head: float = 6.0, width: int = 2) -> None:
        """A line with a head at its end."""
        (x0, y0), (x1, y1) = start, end
        length = math.hypot(x1 - x0, y1 - y0)
        if length == 0:
            return
        across, down = (x1 - x0) / length, (y1 - y0) / length
        x2, y2 = x1 - across * head, y1 - down * head
        self._draw.line((x0, y0, x2, y2), fill=colour, width=width)
        half = 0.6 * head
        self._draw.polygon(
            [(x1, y1), (x2 - down * half, y2 + across * half), (x2 + down * half, y2 - across * half)], fill=colour
        )

    def sign(self, middle: Point, kind: Kind, radius: float, *, hollow: bool = False) -> None:
        """What a slot carries, as a shape and a colour of its own."""
        corners, turn = _CORNERS[kind]
        angles = (math.radians(turn + 360 * k / corners) for k in range(corners))
        points = [(middle[0] + radius * math.cos(a), middle[1] - radius * math.sin(a)) for a in angles]
        colour = of_kind(kind)
        if hollow:
            self._draw.polygon(points, fill=WHITE, outline=colour, width=2)
        else:
            self._draw.polygon(points, fill=colour, outline=WHITE)


def text_width(text: str, size: int = TEXT) -> int:
    """In pixels."""
    return math.ceil(_font(size).getlength(text))


def _fitting(digits: int, cell: int) -> int:
    """The size of a number with so many digits that fits into a cell."""
    return min(15, int((cell - 4) / (0.6 * max(2, digits))), cell - 6)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
