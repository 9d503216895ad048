"""Where rows were not measured or trained alike: marked in the table, explained below it, hidden nowhere."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from arlab.compare.columns import Column, Group, columns_of
from arlab.compare.ranking import result
from arlab.compare.record import Row
from arlab.compare.shown_numbers import with_prefix
from arlab.compare.tokenizers_alike import tokenizer_of, tokenizer_text
from arlab.metrics.protocol import Protocol

SEEDS = "seeds"
_ALPHABET = string.ascii_lowercase.replace("q", "")  # which has no superscript on a terminal
_HASH = re.compile(r"\b[0-9a-f]{16,}\b")
_SHOWN_HASH = 8
_UNEQUAL = 1.01
_AT_SIZE = re.compile(r"(_pca\d+)?@\d+$")


@dataclass(frozen=True)
class Mismatch:
    """One explanation.

    Attributes:
        letter: of the mark.
        columns: keys of the columns it is about; SEEDS is how many runs a row has.
        rows: names of the rows that are marked; none where it is about the columns as such.
        text: what differs.
        sets_apart: the marked rows do not compare with the others.
    """

    letter: str
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    text: str
    sets_apart: bool = False

    @property
    def explanation(self) -> str:
        """The line below the table."""
        return f"{self.letter}: {', '.join(self.rows)}: {self.text}" if self.rows else f"{self.letter}: {self.text}"


@dataclass(frozen=True)
class _Settings:
    """All that must be equal for a row's figure to compare."""

    protocols: tuple[Protocol, ...]
    more: tuple[tuple[str, str], ...]

    def differences(self, other: _Settings) -> str:
        """In words, 'key: mine against theirs'."""
        told = self.protocols[0].differences(other.protocols[0])
        mine, theirs = dict(self.more), dict(other.more)
        told += [
            f"{key}: {mine.get(key, 'unknown')} against {theirs.get(key, 'unknown')}"
            for key in sorted({*mine, *theirs})
            if mine.get(key) != theirs.get(key)
        ]
        if len(self.protocols) > 1:
            inside = self.protocols[1].differences(self.protocols[0])
            told.append(f"its own runs differ: {', '.join(inside)}")
        return _HASH.sub(lambda found: found[0][:_SHOWN_HASH], "; ".join(told))


def mismatches(rows: Sequence[Row]) -> tuple[Mismatch, ...]:
    """What differs from the majority of the rows (from the first rows, where there is none), lettered."""
    columns = columns_of(rows)
    # One letter for all columns in which the same rows differ in the same.
    merged: dict[tuple[tuple[str, ...], str, bool], list[str]] = {}
    for sets_apart, found in ((True, _rows_apart(rows, columns)), (False, _columns_apart(rows, columns))):
        for of_rows, text, of_columns in found:
            merged.setdefault((of_rows, text, sets_apart), []).extend(of_columns)
    return tuple(
        Mismatch(letter, tuple(keys), of_rows, text, sets_apart)
        for letter, ((of_rows, text, sets_apart), keys) in zip(_letters(), merged.items(), strict=False)
    )


_Found = tuple[tuple[str, ...], str, tuple[str, ...]]


def _rows_apart(rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[_Found]:
    for column in columns:
        settings = {row.name: found for row in rows if (found := _settings(row, column))}
        if not settings:
            continue
        usual = collections.Counter(settings.values()).most_common(1)[0][0]
        apart: dict[str, list[str]] = {}
        for name, found in settings.items():
            told = found.differences(usual)
            if told:
                apart.setdefault(told, []).append(name)
        for told, names in apart.items():
            yield tuple(names), told, (column.key,)


def _settings(row: Row, column: Column) -> _Settings | None:
    """The settings of a row's figure; training is compared by its steps."""
    protocols: list[Protocol] = []
    for member in row.members:
        figure = column.read(member)
        if figure is None:
            continue
        # How its interval came about differs with the value: of shares of 0 and 1 it is Wilson's. Members are drawn
        # with seeds of their own on purpose.
        drawn = figure.protocol.seed
        seed = None if drawn is None else drawn - (member.seed or 0)
        protocol = dataclasses.replace(figure.protocol, interval=None, seed=seed)
        if protocol not in protocols:
            protocols.append(protocol)
    if not protocols:
        return None
    evaluation = row.members[0].evaluation
    more: tuple[tuple[str, str], ...] = ()
    if column.key == "training_steps":
        steps = sorted({member.training.steps for member in row.members if member.training})
        more = (("steps", ", ".join(f"{each:,}" for each in steps)),)
    elif column.group is not Group.TRAINING:
        more = (("source", evaluation.source),)
    if column.speed:
        more += tuple((f"machine's {key}", str(value)) for key, value in sorted(evaluation.machine.items()))
    return _Settings(tuple(protocols), more)


def _columns_apart(rows: Sequence[Row], columns: Sequence[Column]) -> Iterator[_Found]:
    """What is not the fault of a row: tokenizers that differ, unequal costs, figures of different names, seeds."""
    for column in columns:
        having = [row for row in rows if result(row, column) is not None]
        if column.within_tokenizer and len({tokenizer_of(row) for row in having}) > 1:
            tokenizers = ", ".join(dict.fromkeys(tokenizer_text(row) for row in having))
            yield (), f"compares within one tokenizer only, and these differ: {tokenizers}", (column.key,)
        if column.key == "training_flops":
            yield from _unequal_cost(having, column)
    yield from _sizes(columns)
    yield from _seeds(rows)


def _unequal_cost(rows: Sequence[Row], column: Column) -> Iterator[_Found]:
    costs = [(found.value, row.name) for row in rows if (found := result(row, column))]
    if len(costs) > 1 and max(costs)[0] > _UNEQUAL * min(costs)[0]:
        (least, cheap), (most, dear) = min(costs), max(costs)
        ratio = f", {most / least:.3g} times as much" if least > 0 else ""
        ends = f"{with_prefix(least)}FLOP ({cheap}) to {with_prefix(most)}FLOP ({dear})"
        yield (), f"trainings differ in cost: {ends}{ratio}", (column.key,)


def _sizes(columns: Sequence[Column]) -> Iterator[_Found]:
    """FID@500 beside FID@1000 are two figures, each in a column of its own."""
    kinds: dict[str, list[Column]] = {}
    for column in columns:
        kinds.setdefault(_AT_SIZE.sub("", column.key), []).append(column)
    for same in kinds.values():
        if len(same) > 1:
            keys = tuple(column.key for column in same)
            told = f"{' and '.join(column.heading for column in same)} are different figures and do not compare"
            yield (), told, keys


def _seeds(rows: Sequence[Row]) -> Iterator[_Found]:
    single = tuple(row.name for row in rows if len(row.members) == 1)
    if single and len(single) < len(rows):
        told = "one seed, so its intervals hold chance in measuring only; those over seeds hold that of training"
        yield single, told, (SEEDS,)


def _letters() -> Iterator[str]:
    for length in itertools.count(1):
        yield from map("".join, itertools.product(_ALPHABET, repeat=length))
