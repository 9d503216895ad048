"""The settings in which rows differ, as bare names under dotted keys."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arlab.compare.record import Row

ABSENT = "–"
_KEYWORDS = {None: "null", True: "true", False: "false"}


@dataclass(frozen=True)
class Difference:
    """One setting.

    Attributes:
        key: dotted: model.ordering, model.backbone.width.
        values: of each row; ABSENT where it has no such setting.
        apart: for each row, whether it differs from what most have (from the first row, where none is most common).
    """

    key: str
    values: tuple[str, ...]
    apart: tuple[bool, ...]


def config_differences(rows: Sequence[Row]) -> tuple[Difference, ...]:
    """Settings that are not equal in all rows that have a configuration, in the order of the first of them."""
    flat = [_of_row(row) for row in rows]
    having = [each for each in flat if each]
    keys = dict.fromkeys(key for each in having for key in each)
    found = []
    for key in keys:
        if len({each.get(key, ABSENT) for each in having}) > 1:
            values = tuple(each.get(key, ABSENT) for each in flat)
            usual = collections.Counter(each.get(key, ABSENT) for each in having).most_common(1)[0][0]
            apart = tuple(bool(each) and value != usual for each, value in zip(flat, values, strict=True))
            found.append(Difference(key, values, apart))
    return tuple(found)


def without_config(rows: Sequence[Row]) -> tuple[str, ...]:
    """Rows that have none, and are therefore not compared here."""
    return tuple(row.name for row in rows if not any(member.config for member in row.members))


def _of_row(row: Row) -> dict[str, str]:
    """Of all its runs; settings in which they differ, such as the seed, hold all their values."""
    members = [dict(_flat(member.config)) for member in row.members if member.config]
    keys = dict.fromkeys(key for each in members for key in each)
    return {key: ", ".join(dict.fromkeys(each.get(key, ABSENT) for each in members)) for key in keys}


def _flat(plain: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    if isinstance(plain, Mapping) and isinstance(plain.get("class_path"), str):
        yield ".".join(path), plain["class_path"].rpartition(".")[2]
        rest = {key: value for key, value in plain.items() if key not in ("class_path", "init_args")}
        for part in (plain.get("init_args"), rest):
            if isinstance(part, Mapping):
                yield from _inside(part, path)
    elif isinstance(plain, Mapping) and (plain or not path):
        yield from _inside(plain, path)
    elif isinstance(plain, (list, tuple)) and any(isinstance(each, Mapping) for each in plain):
        for number, each in enumerate(plain):
            yield from _flat(each, (*path, str(number)))
    else:
        yield ".".join(path), _shown(plain)


def _inside(plain: Mapping[Any, Any], path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key, value in plain.items():
        yield from _flat(value, (*path, str(key)))


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, Mapping):
        return "{}"
    return _KEYWORDS[value] if value is None or isinstance(value, bool) else str(value)
