"""What a row comes to in a column, and which row may be called the best.

Over several seeds: mean ± t(n - 1) s / sqrt(n), where s is the standard deviation of n seeds and t the 0.975 quantile
of Student's distribution (4.303 for three seeds). A single run keeps the interval it was measured with, which knows
nothing of how another seed would have turned out.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from arlab.compare.columns import Column
from arlab.compare.record import Row
from arlab.metrics.figure import Better


@dataclass(frozen=True)
class Result:
    """What a row comes to in a column.

    Attributes:
        value: of its only member, or the mean over members.
        low: lower end of the 95 % interval; None where there is none.
        high: upper end.
        seeds: how many members have the figure.
        of: how many members the row has.
    """

    value: float
    low: float | None
    high: float | None
    seeds: int
    of: int


def result(row: Row, column: Column) -> Result | None:
    """The row's result; None where no member has a number."""
    figures = [figure for member in row.members if (figure := column.read(member)) and not math.isnan(figure.value)]
    if not figures:
        return None
    values = [figure.value for figure in figures]
    if len(set(values)) == 1:
        # One run, or runs that agree to the last digit, as those of one tokenizer: no spread to make an interval of.
        return Result(values[0], figures[0].low, figures[0].high, len(values), len(row.members))
    mean = statistics.fmean(values)
    if not math.isfinite(mean):
        return Result(mean, None, None, len(values), len(row.members))
    half = half_width(values)
    return Result(mean, mean - half, mean + half, len(values), len(row.members))


def half_width(values: Sequence[float]) -> float:
    """t(n - 1) s / sqrt(n) of two numbers or more."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]

    return float(stdtrit(len(values) - 1, 0.975)) * statistics.stdev(values) / math.sqrt(len(values))


def best(column: Column, results: Sequence[Result | None], alike: Sequence[Hashable]) -> frozenset[int]:
    """The rows to be printed in bold: better than every other row that they compare with, beyond doubt.

    Counted figures must be strictly better. Of measured ones the intervals must not meet that of any other row; a row
    without an interval is never the best, and beside it no other is.

    Args:
        column: says which end is good.
        results: of each row.
        alike: rows of equal keys compare; None compares with nothing.
    """
    if column.better is Better.NEITHER:
        return frozenset()
    found = set()
    for key in {key for key in alike if key is not None}:
        group = [
            (number, result)
            for number, (result, other) in enumerate(zip(results, alike, strict=True))
            if other == key and result is not None
        ]
        for number, result in group:
            rest = [other for each, other in group if each != number]
            if rest and all(_beats(column, result, other) for other in rest):
                found.add(number)
    return frozenset(found)


def _beats(column: Column, one: Result, other: Result) -> bool:
    if column.exact and one.low is None and other.low is None:
        ends: tuple[float, ...] = (one.value, one.value, other.value, other.value)
    elif one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    else:
        ends = (one.low, one.high, other.low, other.high)
    return ends[1] < ends[2] if column.better is Better.LOWER else ends[0] > ends[3]
