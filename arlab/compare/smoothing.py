"""Curves as they are drawn: fewer points, and less noise."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MOST_POINTS = 600
_SHARE = 0.05


def thinned(values: Sequence[float]) -> list[float]:
    """Every n-th value, the last among them, so that a picture stays small."""
    every = -(-len(values) // _MOST_POINTS) or 1
    return list(values[::-1][::every][::-1])


def smoothed(values: Sequence[float]) -> list[float]:
    """Of each value the mean over 5 % of all values around it, which does not lag behind a falling curve.

    At the ends the window is smaller, on both sides alike. NaN and infinity are left out of the means; a mean of
    nothing else is NaN.
    """
    reach = int(_SHARE * len(values) / 2)
    sums, counts = [0.0], [0]
    for value in values:
        finite = math.isfinite(value)
        sums.append(sums[-1] + (value if finite else 0.0))
        counts.append(counts[-1] + finite)
    found = []
    for place in range(len(values)):
        side = min(reach, place, len(values) - 1 - place)
        first, last = place - side, place + side + 1
        count = counts[last] - counts[first]
        found.append((sums[last] - sums[first]) / count if count else math.nan)
    return found
