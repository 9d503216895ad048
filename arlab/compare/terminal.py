"""The table on a terminal: the figures asked for most, in as many tables as the width takes."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as Printed
from rich.text import Text

from arlab.compare.columns import Column, Group
from arlab.compare.ranking import Result
from arlab.compare.record import Row
from arlab.compare.table import BOLD_RULE, Cell, Line, Table, table_of

_GROUPS = ((Group.TOKENIZER, Group.QUALITY, Group.LIKELIHOOD), (Group.COST, Group.TRAINING))
_LEFT_OUT = ("inception_score", "real_agreement", "nats_per_image", "nats_per_image_bound")
_PADDING = 3  # a blank on either side, and one between columns
_LONGEST_NAME = 28
_PARTS = ("ordering", "head", "tokenizer")
_SUPERSCRIPTS = str.maketrans("abcdefghijklmnoprstuvwxyz,", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ˒")


def show_table(console: Console, rows: Sequence[Row]) -> None:
    """Print names, quality and cost of some rows with what sets them apart; intervals are in the report."""
    table = table_of(rows)
    for groups in _GROUPS:
        numbers = [
            number
            for number, column in enumerate(table.columns)
            if column.group in groups and column.key not in _LEFT_OUT
        ]
        parts = groups is _GROUPS[0]
        for place, chosen in enumerate(_fitting(table, numbers, console.width, parts)):
            console.print(_printed(table, chosen, parts and place == 0))
    for note in (BOLD_RULE, *(each.explanation for each in table.mismatches)):
        console.print(note, markup=False, highlight=False, soft_wrap=True)


def _fitting(table: Table, numbers: Sequence[int], width: int, parts: bool) -> list[list[int]]:
    """The columns in tables of at most so many characters; the first may hold nothing but the parts of a model."""
    names = 2 + max([len("row"), *(min(_LONGEST_NAME, len(line.name)) for line in table.lines)]) + _PADDING
    first = sum(max(len(_part(line, key)) for line in table.lines) + _PADDING for key in _PARTS) if parts else 0
    found: list[list[int]] = [[]]
    left = width - names - first
    for number in numbers:
        needed = _PADDING + max(len(each) for each in _contents(table, number))
        if needed > left and (found[-1] or (parts and len(found) == 1)):
            found.append([])
            left = width - names
        found[-1].append(number)
        left -= needed
    return [each for each in found if each or parts]


def _part(line: Line, key: str) -> str:
    return {"ordering": line.ordering, "head": line.head, "tokenizer": line.tokenizer}[key]


def _contents(table: Table, number: int) -> list[str]:
    heading = [*_heading(table.columns[number]).split("\n")]
    heading[-1] += _superscript(table.heading_marks[number])
    return [*heading, *(_text(line.cells[number]).plain for line in table.lines)]


def _printed(table: Table, numbers: Sequence[int], parts: bool) -> Printed:
    printed = Printed(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    printed.add_column("row", overflow="fold", max_width=_LONGEST_NAME)
    for key in _PARTS if parts else ():
        printed.add_column(key, overflow="fold")
    for number in numbers:
        heading = Text(_heading(table.columns[number]), justify="right")
        heading.append(_superscript(table.heading_marks[number]))
        printed.add_column(heading, justify="right", overflow="fold")
    for line in table.lines:
        named = [Text(line.name), *(Text(_part(line, key)) for key in _PARTS if parts)]
        printed.add_row(*named, *(_text(line.cells[number]) for number in numbers))
    return printed


def _heading(column: Column) -> str:
    unit = f"\n({column.unit})" if column.unit and not column.large else ""
    words = column.heading.replace(" ", "\n")
    return ("tokenizer\n" if column.group is Group.TOKENIZER else "") + words + unit


def _text(cell: Cell) -> Text:
    text = Text(cell.text, style="bold" if cell.bold else "")
    if cell.result is not None and cell.interval and " " not in cell.text:
        text.append(f" {_spread(cell, cell.result)}", style="dim not bold")
    text.append(_superscript(cell.marks), style="not bold")
    return text


def _spread(cell: Cell, result: Result) -> str:
    """'±0.12', or '(0.00–0.19)' of an interval that lies to one side, as at the end of a range."""
    low, high = float(result.low or 0), float(result.high or 0)
    half = (high - low) / 2
    if abs(low + half - result.value) > half / 2:
        return f"({cell.interval.replace(' ', '')})"
    return f"±{half:.{len(cell.text.partition('.')[2])}f}"


def _superscript(marks: str) -> str:
    return marks.translate(_SUPERSCRIPTS)
