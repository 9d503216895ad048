"""Charts drawn by matplotlib without its global state: the same data give the same bytes."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arlab.compare.palette import Look, look_of
from arlab.compare.shown_numbers import with_prefix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

Draw = Callable[["Axes"], None]
_SIZE = (3.9, 3.0)
_LEFT, _RIGHT, _ABOVE, _BELOW = 0.76, 0.16, 0.42, 0.5
_LEGEND_LINE = 0.24
_DPI = 150
_SIGN, _LETTER = 0.7, 0.07
_LONGEST = 40
_STYLE: dict[Any, object] = {
    "svg.hashsalt": "arlab",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "axes.formatter.use_mathtext": False,
    "axes.formatter.limits": (-4, 6),
}


@dataclass(frozen=True)
class Chart:
    """One pair of axes.

    Attributes:
        title: above it.
        told: what it shows, for those who do not see it.
        draw: puts everything else on it.
    """

    title: str
    told: str
    draw: Draw


@dataclass(frozen=True)
class Entry:
    """A row in a legend.

    Attributes:
        name: of the row.
        number: of the row, counted from 1.
        look: how it is drawn.
    """

    name: str
    number: int
    look: Look


def legend_of(names: Sequence[str]) -> tuple[Entry, ...]:
    """One entry per row, whose place decides on its look."""
    return tuple(Entry(name, number + 1, look_of(number)) for number, name in enumerate(names))


def as_svg(chart: Chart) -> bytes:
    """One chart on its own."""
    with _styled():
        figure, axes = _figure(1, 1)
        _fill(axes[0], chart)
        return _written(figure, "svg")


def as_png(charts: Sequence[Sequence[Chart]], legend: Sequence[Entry]) -> bytes:
    """Lines of charts under one legend."""
    columns = max(map(len, charts))
    longest = max(len(shortened(entry.name)) for entry in legend)
    in_line = max(1, min(len(legend), int(columns * _SIZE[0] / (_SIGN + _LETTER * longest))))
    with _styled():
        figure, axes = _figure(len(charts), columns, legend_lines=-(-len(legend) // in_line))
        for number, place in enumerate(axes):
            line, column = divmod(number, columns)
            if column < len(charts[line]):
                _fill(place, charts[line][column])
            else:
                place.set_axis_off()
        _draw_legend(figure, legend, in_line)
        return _written(figure, "png")


def shortened(name: str) -> str:
    """A name that a chart has room for."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def prefixed(axis: Axis) -> None:
    """Ticks as 900 M or 1.2 G, few enough to be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axis.set_minor_formatter(NullFormatter())
    else:
        axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: with_prefix(round(value, 12), whole=True)))


@contextlib.contextmanager
def _styled() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        # Whatever the user's own style is; and names may hold signs that the font has not.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def _figure(lines: int, columns: int, legend_lines: int = 0) -> tuple[Figure, list[Axes]]:
    """Charts of fixed margins, in inches, which need no layout to be searched for."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = _SIZE
    wide, high = width * columns, height * lines + _LEGEND_LINE * legend_lines
    figure = Figure(figsize=(wide, high), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = []
    for line in range(lines):
        for column in range(columns):
            left, bottom = column * width + _LEFT, (lines - 1 - line) * height + _BELOW
            size = (width - _LEFT - _RIGHT) / wide, (height - _ABOVE - _BELOW) / high
            axes.append(figure.add_axes((left / wide, bottom / high, *size)))
    return figure, axes


def _fill(axes: Axes, chart: Chart) -> None:
    axes.set_title(chart.title, loc="left", pad=5)
    chart.draw(axes)


def _draw_legend(figure: Figure, legend: Sequence[Entry], columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=entry.look.colour, linestyle=entry.look.dash, marker=entry.look.marker, markersize=4)
        for entry in legend
    ]
    names = [f"{entry.number} {shortened(entry.name)}" for entry in legend]
    figure.legend(handles, names, loc="upper left", ncols=columns, frameon=False, borderaxespad=0.3)


def _written(figure: Figure, kind: str) -> bytes:
    held = io.BytesIO()
    no_date = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    figure.savefig(held, format=kind, metadata=no_date)
    return held.getvalue()
