"""The report of a comparison: one page that opens offline, the table and all figures as files, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from arlab.compare.charts import as_png, legend_of
from arlab.compare.cost_charts import cost_charts
from arlab.compare.curve_charts import curve_charts
from arlab.compare.figures_file import as_json
from arlab.compare.page import page_of
from arlab.compare.record import Row
from arlab.compare.sheets import samples_sheet, strips_sheet
from arlab.compare.step_charts import step_charts
from arlab.compare.table import table_of
from arlab.compare.table_files import as_csv, as_markdown
from arlab.runs.files import remove, written_whole

PICTURES = "pictures"
_CHARTS_IN_LINE = 3


def write_report(rows: Sequence[Row], out: Path, *, title: str, command: str) -> None:
    """Write report.html, table.md, table.csv, metrics.json and pictures/*.png into a folder, each whole.

    Everything is made before anything is written. Equal rows give equal files but for the date. Pictures that there is
    nothing for are left out, and those of an earlier report are removed.

    Args:
        rows: what is compared, one at least, of unique names.
        out: the folder; other files in it stay.
        title: of the page.
        command: that made the comparison, as it is told on the page.

    Raises:
        ValueError: there is no row, a row has no member, or two have the same name.
        OSError: a file cannot be written.
    """
    _refuse(rows)
    written = _now()
    table = table_of(rows)
    files: dict[str, bytes | None] = {
        "table.md": as_markdown(table).encode(),
        "table.csv": as_csv(table).encode(),
        "metrics.json": as_json(rows, table, title=title, command=command, written=written).encode(),
        "report.html": page_of(rows, table, title=title, command=command, written=written).encode(),
        **{f"{PICTURES}/{name}": content for name, content in _pictures(rows).items()},
    }
    for name, content in files.items():
        if content is None:
            remove(out / name)
            continue
        with written_whole(out / name) as draft:
            draft.write_bytes(content)


def _refuse(rows: Sequence[Row]) -> None:
    if not rows:
        raise ValueError("rows: a report needs one at least, got none")
    names = [row.name for row in rows]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"rows: names must be unique, got {twice} twice")
    empty = next((row.name for row in rows if not row.members), None)
    if empty is not None:
        raise ValueError(f"rows: {empty} has no run")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _pictures(rows: Sequence[Row]) -> dict[str, bytes | None]:
    legend = legend_of([row.name for row in rows])
    steps = step_charts(rows)
    charts = {
        "curves.png": [line for group in curve_charts(rows) for line in group.titled],
        "quality_cost.png": list(cost_charts(rows)),
        "per_step.png": [steps[start : start + _CHARTS_IN_LINE] for start in range(0, len(steps), _CHARTS_IN_LINE)],
    }
    drawn = {name: as_png(lines, legend) if lines else None for name, lines in charts.items()}
    return {**drawn, "samples.png": samples_sheet(rows), "strips.png": strips_sheet(rows)}
