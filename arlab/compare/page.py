"""The page of a report: what the template shows, put together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape
from torch import Tensor

import arlab
from arlab.compare.charts import Chart, as_svg, legend_of
from arlab.compare.columns import Column, Group
from arlab.compare.config_differences import config_differences, without_config
from arlab.compare.cost_charts import MOST_NAMED, cost_charts
from arlab.compare.curve_charts import curve_charts
from arlab.compare.pictures import as_png, embedded, enlarged, shrink, tiled
from arlab.compare.record import Row
from arlab.compare.samples import Samples, affordable, neighbours, samples, strip
from arlab.compare.step_charts import rows_without_steps, step_charts
from arlab.compare.table import BOLD_RULE, Table

_TEMPLATE = "report.html.j2"
_FOLLOWED = 4
_NEIGHBOURS = 12
_BESIDE = 132


@dataclass(frozen=True)
class Image:
    """A picture on the page.

    Attributes:
        address: which holds it.
        told: what it shows, for those who do not see it.
        width: in pixels of the page.
        height: likewise.
    """

    address: str
    told: str
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Named:
    """Pictures beside a name.

    Attributes:
        name: of a row, a step or a class.
        number: of the row, counted from 1; 0 where it is none.
        images: beside it.
    """

    name: str
    number: int
    images: tuple[Image, ...]


@dataclass(frozen=True)
class OfClass:
    """Pictures of a class.

    Attributes:
        name: '' for data without classes.
        lines: real images, then those of each row.
    """

    name: str
    lines: tuple[Named, ...]


@dataclass(frozen=True)
class Heading:
    """Headings that span columns.

    Attributes:
        text: of the group.
        span: of how many columns.
    """

    text: str
    span: int


def page_of(rows: Sequence[Row], table: Table, *, title: str, command: str, written: str) -> str:
    """The whole page as HTML, everything it needs inside it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("arlab.compare"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    by_key = {column.key: column.heading for column in table.columns}
    environment.filters["heading_of"] = lambda key: by_key.get(key, key)
    environment.filters["breakable"] = _breakable
    found = samples(rows)
    most = affordable(found)
    return environment.get_template(_TEMPLATE).render(
        title=title,
        command=command,
        written=written,
        version=arlab.__version__,
        rows=rows,
        run_count=sum(len(row.members) for row in rows),
        many_seeds=any(len(row.members) > 1 for row in rows),
        all_names=[row.name for row in rows],
        step_names=[row.name for row in rows if row.name not in rows_without_steps(rows)],
        table=table,
        most_named=MOST_NAMED,
        bold_rule=BOLD_RULE,
        headings=_headings(table.columns),
        starts=_starts(table.columns),
        protocols=[_protocol(table, number) for number in range(len(table.columns))],
        legend=legend_of([row.name for row in rows]),
        differences=config_differences(rows),
        without_config=without_config(rows),
        curves=[(group, [[_chart(chart) for chart in line] for line in group.lines]) for group in curve_charts(rows)],
        costs=[[_chart(chart) for chart in line] for line in cost_charts(rows)],
        steps=[_chart(chart) for chart in step_charts(rows)],
        without_steps=rows_without_steps(rows),
        samples=[OfClass(each.name, tuple(_lines(each, rows))) for each in found[:most]],
        block_width=max((_width(each.of_rows) for each in found), default=0) + _BESIDE,
        classes_left_out=len(found) - min(most, len(found)),
        strips=list(_strips(rows)),
        neighbours=list(_neighbours(rows)),
    )


def _breakable(text: str) -> Markup:
    """Where a long name may go on in the next line."""
    return Markup(re.sub(r"([/_+.-])", r"\1<wbr>", str(escape(text))))


def _headings(columns: Sequence[Column]) -> list[Heading]:
    counts = {group: sum(column.group is group for column in columns) for group in Group}
    return [Heading(group.value, count) for group, count in counts.items() if count]


def _starts(columns: Sequence[Column]) -> list[bool]:
    """Whether a column is the first of its group."""
    return [number == 0 or columns[number - 1].group is not column.group for number, column in enumerate(columns)]


def _protocol(table: Table, number: int) -> str:
    return next((" · ".join(cells.protocol) for line in table.lines if (cells := line.cells[number]).protocol), "")


def _chart(chart: Chart) -> Image:
    return Image(embedded(as_svg(chart), "svg+xml"), chart.told)


def _picture(image_BCHW: Tensor, columns: int, told: str) -> Image:
    picture = tiled(image_BCHW, columns)
    size = tuple(image_BCHW.shape[-2:])
    times = enlarged(size) if shrink(size) == 1 else 1
    height, width = picture.shape[:2]
    return Image(embedded(as_png(picture), "png"), told, width * times, height * times)


def _lines(samples: Samples, rows: Sequence[Row]) -> Iterator[Named]:
    of_class = f" of class {samples.name}" if samples.name else ""
    named = [("real images", samples.real_PCHW)]
    named += [(row.name, images) for row, images in zip(rows, samples.of_rows, strict=True)]
    for number, (who, images) in enumerate(named):
        shown = () if images is None else (_picture(images, len(images), f"{who}{of_class}"),)
        yield Named(who, number, shown)


def _width(of_rows: Sequence[Tensor | None]) -> int:
    """Of a line of images on the page."""
    return max((_picture(each, len(each), "").width for each in of_rows if each is not None), default=0)


def _strips(rows: Sequence[Row]) -> Iterator[tuple[Named, list[Named]]]:
    for number, row in enumerate(rows):
        steps = [
            Named(str(step), 0, (_picture(image_ICHW[:_FOLLOWED], 1, f"{row.name} after step {step}"),))
            for step, image_ICHW in strip(row)
        ]
        if steps:
            yield Named(row.name, number + 1, ()), steps


def _neighbours(rows: Sequence[Row]) -> Iterator[Named]:
    for number, row in enumerate(rows):
        both = neighbours(row)
        if both is not None:
            generated_GCHW, nearest_GCHW = (images[:_NEIGHBOURS] for images in both)
            columns = len(generated_GCHW)
            yield Named(
                row.name,
                number + 1,
                (
                    _picture(generated_GCHW, columns, f"generated by {row.name}"),
                    _picture(nearest_GCHW, columns, f"the training images nearest to those of {row.name}"),
                ),
            )
