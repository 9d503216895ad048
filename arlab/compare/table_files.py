"""The table as files: Markdown to read, CSV to compute with."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence

from arlab.compare.table import BOLD_RULE, Cell, Line, Table

NAMED = ("row", "ordering", "head", "tokenizer", "seeds")
_SPECIAL = re.compile(r"([\\`*_{}\[\]|~])")


def as_markdown(table: Table) -> str:
    """A pipe table, the best in bold, marks as superscripts, and what they mean below."""
    marked = zip(table.columns, table.heading_marks, strict=True)
    headings = [*NAMED, *(f"{escaped(column.heading)}{_superscript(marks)}" for column, marks in marked)]
    lines = [_joined(headings), _joined(["---"] * len(NAMED) + ["---:"] * len(table.columns))]
    lines += [
        _joined([*map(escaped, _names(line)[:-1]), _seeds(line), *map(_markdown_cell, line.cells)])
        for line in table.lines
    ]
    notes = [BOLD_RULE, *(escaped(each.explanation) for each in table.mismatches)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes)]) + "\n"


def as_csv(table: Table) -> str:
    """Of each figure value, low and high with all digits; empty where there is none."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    ends = [f"{column.key}{end}" for column in table.columns for end in ("", "_low", "_high")]
    writer.writerow([*NAMED, *ends])
    for line in table.lines:
        writer.writerow([*_names(line), *(number for cell in line.cells for number in _numbers(cell))])
    return written.getvalue()


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _joined(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _names(line: Line) -> list[str]:
    return [line.name, line.ordering, line.head, line.tokenizer, str(line.seeds)]


def _seeds(line: Line) -> str:
    return f"{line.seeds}{_superscript(line.seeds_marks)}"


def _markdown_cell(cell: Cell) -> str:
    value = f"**{cell.text}**" if cell.bold else cell.text
    interval = f" ({cell.interval})" if cell.interval else ""
    return f"{value}{_superscript(cell.marks)}{interval}"


def _superscript(marks: str) -> str:
    return f"<sup>{marks}</sup>" if marks else ""


def _numbers(cell: Cell) -> list[str]:
    if cell.result is None:
        return ["", "", ""]
    numbers = (cell.result.value, cell.result.low, cell.result.high)
    return ["" if number is None else repr(number) for number in numbers]
