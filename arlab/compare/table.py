"""The table of a comparison as data: what each row comes to, which is the best, what is marked."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from arlab.compare.columns import Column, columns_of
from arlab.compare.mismatches import SEEDS, Mismatch, mismatches
from arlab.compare.ranking import Result, best, result
from arlab.compare.record import Row
from arlab.compare.shown_numbers import MISSING, interval_text, with_prefix
from arlab.compare.tokenizers_alike import tokenizer_of

BOLD_RULE = (
    "Bold: the best of its column, and its 95 % interval meets that of no other row measured alike; "
    "counted figures are exact. Rows that a letter sets apart in a column are not ranked there."
)
_PROTOCOL_HASH = re.compile(r"^[0-9a-f]{16,}$")


@dataclass(frozen=True)
class Cell:
    """A row in a column.

    Attributes:
        result: None where the row has no such figure.
        bold: it is the best.
        marks: letters of the mismatches it is part of.
        text: the value as it is shown.
        interval: the interval as it is shown, or ''.
        seeds: 'over 3 seeds', or ''.
        protocol: how it was measured, 'key: value' of all that is known.
    """

    result: Result | None
    bold: bool
    marks: str
    text: str
    interval: str
    seeds: str
    protocol: tuple[str, ...]

    @property
    def sortable(self) -> float | None:
        """What rows are sorted by; None, at the end, for NaN and infinity as well."""
        value = math.nan if self.result is None else self.result.value
        return value if math.isfinite(value) else None

    @property
    def tip(self) -> str:
        """How it was measured, in lines."""
        return "\n".join(each for each in (self.seeds, *self.protocol) if each)


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        name: of the row.
        ordering: its class.
        head: its class.
        tokenizer: its class.
        seeds: how many runs it is of.
        seeds_marks: letters of what is to be said of that.
        cells: one per column.
    """

    name: str
    ordering: str
    head: str
    tokenizer: str
    seeds: int
    seeds_marks: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """All of it.

    Attributes:
        columns: of figures.
        lines: one per row.
        mismatches: the explanations of the marks.
        heading_marks: of each column, the letters of what is about the column as such.
    """

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    mismatches: tuple[Mismatch, ...]
    heading_marks: tuple[str, ...]


def table_of(rows: Sequence[Row]) -> Table:
    """The table of some rows, in their order."""
    columns, found = columns_of(rows), mismatches(rows)
    by_column = [_cells(rows, column, found) for column in columns]
    lines = tuple(
        Line(
            row.name,
            *_parts(row),
            len(row.members),
            _marks(found, SEEDS, row),
            tuple(cells[number] for cells in by_column),
        )
        for number, row in enumerate(rows)
    )
    heading_marks = tuple(
        _together(each.letter for each in found if column.key in each.columns and not each.rows) for column in columns
    )
    return Table(columns, lines, found, heading_marks)


def _parts(row: Row) -> tuple[str, str, str]:
    evaluation = row.members[0].evaluation
    return evaluation.ordering, evaluation.head, evaluation.tokenizer


def _cells(rows: Sequence[Row], column: Column, found: Sequence[Mismatch]) -> list[Cell]:
    results = [result(row, column) for row in rows]
    marks = [_marks(found, column.key, row) for row in rows]
    winners = best(column, results, [_alike(row, column, found) for row in rows])
    return [
        _cell(row, column, results[number], number in winners, marks[number] if results[number] else "")
        for number, row in enumerate(rows)
    ]


def _alike(row: Row, column: Column, found: Sequence[Mismatch]) -> Hashable:
    """Rows of equal keys were measured alike; None for a row that was not measured as most were."""
    if any(each.sets_apart and column.key in each.columns and row.name in each.rows for each in found):
        return None
    return tokenizer_of(row) if column.within_tokenizer else "all"


def _cell(row: Row, column: Column, result: Result | None, bold: bool, marks: str) -> Cell:
    if result is None:
        return Cell(None, False, "", MISSING, "", "", ())
    text, interval = interval_text(result.value, result.low, result.high)
    if column.large:
        text = with_prefix(result.value)
        interval = "" if not interval else f"{with_prefix(result.low or 0)} – {with_prefix(result.high or 0)}"
    over = "" if result.of == 1 else f"over {result.seeds} seeds"
    if result.seeds < result.of:
        over = f"over {result.seeds} of {result.of} seeds"
    figure = next(figure for member in row.members if (figure := column.read(member)) is not None)
    return Cell(result, bold, marks, text, interval, over, protocol_lines(dataclasses.asdict(figure.protocol)))


def protocol_lines(protocol: dict[str, object]) -> tuple[str, ...]:
    """'key: value' of every setting that applies; long digests cut short."""
    return tuple(
        f"{key.replace('_', ' ')}: {_PROTOCOL_HASH.sub(lambda found: found[0][:8], str(value))}"
        for key, value in protocol.items()
        if value not in (None, "")
    )


def _marks(found: Sequence[Mismatch], key: str, row: Row) -> str:
    return _together(each.letter for each in found if key in each.columns and row.name in each.rows)


def _together(letters: Iterable[str]) -> str:
    return ",".join(letters)
