"""Sizes that options and shapes tell together."""

from __future__ import annotations

import math

from arlab.checkpoints.shapes import square
from arlab.tokenizers.tokenizer import Tokenizer


def ratio_of(hidden: int, width: int) -> float:
    """hidden / width, such that ⌊width · ratio⌋ is ``hidden`` again: a quotient may be rounded to just below it.

    Raises:
        ValueError: a layer would have no width.
    """
    if min(hidden, width) < 1:
        raise ValueError(f"its feed-forward layers are of width {width}, {hidden} inside")
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def grid_of(places: int, rows: int) -> tuple[int, int]:
    """The sides of a grid of so many places; a square where the rows are not given (0).

    Raises:
        ValueError: there are none, it is no square, or cannot have so many rows.
    """
    if places < 1:
        raise ValueError(f"rows: no grid has {places} places")
    if rows == 0:
        return square(places, "rows")
    if rows < 0 or places % rows:
        raise ValueError(f"rows: {places} places are no grid of {rows} rows")
    return rows, places // rows


def refuse_other_codes(codes: int, tokenizer: Tokenizer) -> None:
    """See that a generator and a tokenizer have as many codes.

    Raises:
        ValueError: they have not, so that one is another's.
    """
    its = tokenizer.space.codebook_size
    # One without codes is told so by the head.
    if its not in (None, codes):
        raise ValueError(f"has {codes} codes, its tokenizer {its}; name its own tokenizer")
