"""Quality against cost: where each row lies, with the intervals of both."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arlab.compare.charts import Chart, prefixed, shortened
from arlab.compare.columns import Column, columns_of
from arlab.compare.palette import Look, look_of
from arlab.compare.ranking import Result, result
from arlab.compare.record import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import BboxBase

_QUALITIES = ("FID", "kid")
_COSTS = ("images_per_second", "flops_per_image", "training_flops", "training_minutes")
MOST_NAMED = 6
_WIDE = 5.0
_MARKER = 7.0
_PLACES = (
    (6, 5, "left"),
    (6, -12, "left"),
    (-6, 5, "right"),
    (-6, -12, "right"),
    (0, 14, "center"),
    (0, -22, "center"),
)


@dataclass(frozen=True)
class _Point:
    label: str
    look: Look
    x: Result
    y: Result


def cost_charts(rows: Sequence[Row]) -> tuple[tuple[Chart, ...], ...]:
    """A line of charts per figure of quality; charts without a point are left out."""
    columns = columns_of(rows)
    costs = [column for key in _COSTS for column in columns if column.key == key]
    qualities = [column for column in columns if column.key.startswith(_QUALITIES)]
    lines = (tuple(_charts(rows, quality, costs)) for quality in qualities)
    return tuple(line for line in lines if line)


def _charts(rows: Sequence[Row], quality: Column, costs: Sequence[Column]) -> Iterator[Chart]:
    for cost in costs:
        points = [
            _Point(shortened(row.name) if len(rows) <= MOST_NAMED else str(number + 1), look_of(number), x, y)
            for number, row in enumerate(rows)
            if (x := result(row, cost)) and (y := result(row, quality)) and x.value > 0
        ]
        if points:
            told = f"{quality.heading} against {cost.heading}: {', '.join(row.name for row in rows)}"
            draw = functools.partial(_draw, points, quality, cost)
            yield Chart(f"{quality.heading} against {cost.heading}", told, draw)


def _draw(points: Sequence[_Point], quality: Column, cost: Column, axes: Axes) -> None:
    axes.margins(0.18, 0.15)
    for point in points:
        colour = point.look.colour
        axes.errorbar(
            [point.x.value],
            [point.y.value],
            xerr=_bar(point.x),
            yerr=_bar(point.y),
            color=colour,
            marker=point.look.marker,
            markersize=6,
            elinewidth=1.2,
            capsize=2.5,
        )
    values = [point.x.value for point in points]
    if max(values) > _WIDE * min(values):
        axes.set_xscale("log")
    prefixed(axes.xaxis)
    unit = f" ({cost.unit})" if cost.unit and not cost.large else ""
    axes.set_xlabel(f"{cost.heading}{unit}, {'more' if cost.key == 'images_per_second' else 'less'} is better")
    axes.set_ylabel(f"{quality.heading}, less is better")
    _label(points, axes)


def _bar(of: Result) -> list[list[float]] | None:
    if of.low is None or of.high is None:
        return None
    return [[max(0.0, of.value - of.low)], [max(0.0, of.high - of.value)]]


def _label(points: Sequence[_Point], axes: Axes) -> None:
    """Names beside points, each where it covers none of those before it, as far as there is such a place."""
    axes.autoscale_view()
    taken = [_around(axes, point) for point in points]
    for point in points:
        texts = [
            axes.annotate(
                point.label,
                (point.x.value, point.y.value),
                xytext=(right, up),
                textcoords="offset points",
                ha=side,
                fontsize=8,
                color="#222222",
            )
            for right, up, side in _PLACES
        ]
        boxes = [text.get_window_extent() for text in texts]
        covered = [_covered(axes, box, taken) for box in boxes]
        chosen = covered.index(min(covered))
        taken.append(boxes[chosen])
        for number, text in enumerate(texts):
            if number != chosen:
                text.remove()


def _covered(axes: Axes, box: BboxBase, taken: Sequence[BboxBase]) -> int:
    """How many things a label would lie on; the edge of the chart counts for two."""
    inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and axes.bbox.y0 <= box.y0 and box.y1 <= axes.bbox.y1
    return sum(box.overlaps(other) for other in taken) + 2 * (not inside)


def _around(axes: Axes, point: _Point) -> BboxBase:
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform((point.x.value, point.y.value))
    return Bbox.from_bounds(x - _MARKER, y - _MARKER, 2 * _MARKER, 2 * _MARKER)
