"""``--image_size`` of commands."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_PIXELS = 4096


def sides(given: Sequence[int]) -> tuple[int, int]:
    """Height and width, of one number for both or of two.

    Raises:
        ValueError: there are others.
    """
    if len(given) > 2 or min(given) < 1 or max(given) > _MOST_PIXELS:
        raise ValueError(f"image_size: expected one or two numbers from 1 to {_MOST_PIXELS}, got {list(given)}")
    return given[0], given[-1]
