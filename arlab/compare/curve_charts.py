"""Figures over training, by steps, by minutes and by FLOPs, one line of charts per group of rows that compare."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arlab.compare.charts import Chart, prefixed
from arlab.compare.palette import Look, look_of
from arlab.compare.record import Curve, Member, Row
from arlab.compare.smoothing import smoothed, thinned
from arlab.compare.tokenizers_alike import tokenizer_of, tokenizer_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOSS = "train/loss"
_TWICE = {"val/loss": ("val/nats_per_token", "val/nats_per_token_bound")}
_SAME = ("val/nats_per_image", "val/nats_per_image_bound")
_FAINT = 0.35
_FIRST_SHARE = 0.02
_MOST_FOR_MARKERS = 40


@dataclass(frozen=True)
class Comparable:
    """Rows whose losses compare, and what is drawn of them.

    Attributes:
        title: head and tokenizer that they share.
        names: of the rows.
        lines: of charts, one line per figure.
    """

    title: str
    names: tuple[str, ...]
    lines: tuple[tuple[Chart, ...], ...]

    @property
    def titled(self) -> tuple[tuple[Chart, ...], ...]:
        """The lines, of each chart the title telling the group as well."""
        return tuple(
            tuple(dataclasses.replace(chart, title=f"{chart.title}\n{self.title}") for chart in line)
            for line in self.lines
        )


def curve_charts(rows: Sequence[Row]) -> tuple[Comparable, ...]:
    """Groups of equal tokenizer and head, in the order of their first rows; without those that logged nothing."""
    groups: dict[object, list[int]] = {}
    for number, row in enumerate(rows):
        shared = tokenizer_of(row)
        # A row whose tokenizer is unknown compares with no other.
        key = (row.members[0].evaluation.head, shared) if shared else (row.name,)
        groups.setdefault(key, []).append(number)
    found = (_group(rows, numbers) for numbers in groups.values())
    return tuple(group for group in found if group.lines)


def _group(rows: Sequence[Row], numbers: Sequence[int]) -> Comparable:
    first = rows[numbers[0]]
    chosen = [(look_of(number), rows[number]) for number in numbers]
    lines = tuple(charts for name in _names(row for _, row in chosen) if (charts := tuple(_charts(chosen, name))))
    title = f"{first.members[0].evaluation.head} on {tokenizer_text(first)}"
    return Comparable(title, tuple(row.name for _, row in chosen), lines)


def _names(rows: Iterable[Row]) -> list[str]:
    """The training loss, then what was validated, each told once."""
    logged = {curve.name for row in rows for curve in _all(row) if curve.values}
    kept = {name for name in logged if name.startswith("val/") and name not in _SAME}
    kept -= {name for name, others in _TWICE.items() if any(other in kept for other in others)}
    return [*({_LOSS} & logged), *sorted(kept)]


def _all(row: Row) -> list[Curve]:
    return [curve for member in row.members if member.training for curve in member.training.curves]


# ---- the three measures of how far training has come


def _steps(curve: Curve, member: Member) -> list[float] | None:
    return list(map(float, curve.steps))


def _minutes(curve: Curve, member: Member) -> list[float] | None:
    return [second / 60 for second in curve.seconds]


def _flops(curve: Curve, member: Member) -> list[float] | None:
    each = member.training.flops_per_step if member.training else None
    return None if each is None else [step * each for step in curve.steps]


_Measure = Callable[[Curve, Member], list[float] | None]
_MEASURES: tuple[tuple[str, _Measure], ...] = (("steps", _steps), ("minutes", _minutes), ("training FLOPs", _flops))


@dataclass(frozen=True)
class _Drawn:
    look: Look
    x: list[float]
    y: list[float]


def _charts(chosen: Sequence[tuple[Look, Row]], name: str) -> Iterator[Chart]:
    for measure, read in _MEASURES:
        drawn = [
            _Drawn(look, x, list(curve.values))
            for look, row in chosen
            for member in row.members
            for curve in (member.training.curves if member.training else ())
            if curve.name == name and curve.values and (x := read(curve, member)) is not None
        ]
        if drawn:
            shown = name.replace("_", " ")
            told = f"{shown} against {measure}: {', '.join(row.name for _, row in chosen)}"
            yield Chart(f"{shown} by {measure}", told, functools.partial(_draw, drawn, measure, name == _LOSS))


def _draw(drawn: Sequence[_Drawn], measure: str, noisy: bool, axes: Axes) -> None:
    for line in drawn:
        look, x = line.look, thinned(line.x)
        if noisy:
            axes.plot(x, thinned(line.y), color=look.colour, alpha=_FAINT, linewidth=0.6)
            # A line of one point is none.
            marker = look.marker if len(x) == 1 else ""
            level = thinned(smoothed(line.y))
            axes.plot(x, level, color=look.colour, linestyle=look.dash, linewidth=1.5, marker=marker, markersize=4)
        else:
            marker = look.marker if len(x) <= _MOST_FOR_MARKERS else ""
            axes.plot(x, thinned(line.y), color=look.colour, linestyle=look.dash, marker=marker, markersize=4)
    axes.set_xlabel(measure)
    prefixed(axes.xaxis)
    axes.set_xlim(left=0)
    if noisy:
        axes.set_ylim(*_readable(drawn))


def _readable(drawn: Sequence[_Drawn]) -> tuple[float | None, float | None]:
    """Ends of the axis that the first, steep steps do not stretch."""
    values = [value for line in drawn for value in smoothed(line.y)[int(_FIRST_SHARE * len(line.y)) :]]
    values = [value for value in values if math.isfinite(value)]
    if not values or max(values) <= min(values):
        return None, None
    room = 0.06 * (max(values) - min(values))
    return min(values) - room, max(values) + room
