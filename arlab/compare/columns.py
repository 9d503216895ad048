"""The columns of a comparison: which figures there are, what each means and where a member holds it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from arlab.compare.record import Member, Row
from arlab.metrics.figure import MEANINGS, Better, Figure, Meaning, meaning
from arlab.metrics.protocol import Protocol

Read = Callable[[Member], Figure | None]
_EXACT = ("decoding_steps", "network_evaluations", "head_evaluations", "parameters", "flops_per_image")
_SPEED = ("images_per_second", "latency", "peak_memory")
_LARGE = ("parameters", "flops_per_image")
_OF_TOKENIZER = ("psnr", "rFID")
_WITHIN_TOKENIZER = re.compile(r"nats_per_")
_SHORT = {
    "kid": "KID",
    "inception_score": "inception score",
    "psnr": "PSNR",
    "flops_per_image": "FLOPs/image",
    "images_per_second": "images/s",
    "peak_memory": "memory",
    "train_distance": "train distance",
}


class Group(Enum):
    """What a column is about; the headings above columns."""

    TOKENIZER = "tokenizer"
    QUALITY = "generated images"
    LIKELIHOOD = "likelihood"
    COST = "cost of sampling"
    TRAINING = "training"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: unique among columns; a figure's name, 'tokenizer_' before a tokenizer's.
        heading: as it is shown.
        group: of columns it stands in.
        better: which end is good.
        what: one line on its meaning.
        unit: of its numbers.
        exact: it counts, so that equal runs give equal numbers and no interval is needed.
        speed: it depends on the machine.
        within_tokenizer: rows of different tokenizers do not compare.
        large: shown with prefixes: k, M, G.
        read: a member's figure of this column; None where it has none.
    """

    key: str
    heading: str
    group: Group
    better: Better
    what: str
    unit: str | None
    exact: bool
    speed: bool
    within_tokenizer: bool
    large: bool
    read: Read


def columns_of(rows: Sequence[Row]) -> tuple[Column, ...]:
    """All columns that some row has a figure for: tokenizer, quality, likelihood, cost, training."""
    names = {name for row in rows for member in row.members for name in member.evaluation.figures}
    kept = {name for row in rows for member in row.members for name in member.evaluation.tokenizer_figures}
    kept = {name for name in kept if _base(name) in _OF_TOKENIZER}
    columns = [
        *(_figure(f"tokenizer_{name}", name, Group.TOKENIZER, _kept(name)) for name in _ordered(kept)),
        *(_figure(name, name, _group(name), _measured(name)) for name in _ordered(names)),
        *_TRAINING,
    ]
    return tuple(column for column in columns if any(column.read(member) for row in rows for member in row.members))


def _figure(key: str, name: str, group: Group, read: Read) -> Column:
    told, base = _meaning(name), _base(name)
    heading = _SHORT.get(base, base.replace("_", " ")) + name.removeprefix(base).replace("_", " ")
    exact, speed, large = (base in names for names in (_EXACT, _SPEED, _LARGE))
    within = _WITHIN_TOKENIZER.match(base) is not None
    return Column(key, heading, group, told.better, told.what, told.unit, exact, speed, within, large, read)


def _ordered(names: Iterable[str]) -> list[str]:
    """In the order in which meanings are listed; names without one at the end."""
    bases = list(MEANINGS)
    return sorted(names, key=lambda name: (bases.index(_base(name)) if _base(name) in bases else len(bases), name))


def _base(name: str) -> str:
    return next((base for base in sorted(MEANINGS, key=len, reverse=True) if _is_of(name, base)), name)


def _is_of(name: str, base: str) -> bool:
    if not name.startswith(base):
        return False
    try:
        return meaning(name) is MEANINGS[base]
    except KeyError:
        return False


def _meaning(name: str) -> Meaning:
    try:
        return meaning(name)
    except KeyError:
        return Meaning(Better.NEITHER, "of its own; nothing is known of its meaning")


def _group(name: str) -> Group:
    bases = list(MEANINGS)
    base = _base(name)
    if base not in bases or bases.index(base) < bases.index("nats_per_token"):
        return Group.QUALITY
    return Group.LIKELIHOOD if bases.index(base) < bases.index("decoding_steps") else Group.COST


def _measured(name: str) -> Read:
    return lambda member: member.evaluation.figures.get(name)


def _kept(name: str) -> Read:
    return lambda member: member.evaluation.tokenizer_figures.get(name)


# ---- training, which is not measured but was


def training_flops(member: Member) -> float | None:
    """Of all steps together; None where unknown."""
    training = member.training
    if training is None or training.flops_per_step is None:
        return None
    return training.steps * training.flops_per_step


def _steps(member: Member) -> float | None:
    return None if member.training is None else member.training.steps


def _minutes(member: Member) -> float | None:
    return None if member.training is None else member.training.seconds / 60


def _training(key: str, value: Callable[[Member], float | None], what: str, unit: str | None, large: bool) -> Column:
    def read(member: Member) -> Figure | None:
        found = value(member)
        return None if found is None else Figure(found, unit, Protocol(split="train", torch_version=""))

    heading = key.replace("_", " ").replace("flops", "FLOPs")
    return Column(key, heading, Group.TRAINING, Better.NEITHER, what, unit, True, False, False, large, read)


_TRAINING = (
    _training("training_steps", _steps, "optimiser steps", None, False),
    _training(
        "training_minutes", _minutes, "spent in the run, on its machine, with whatever ran beside it", "min", False
    ),
    _training(
        "training_flops",
        training_flops,
        "forward and backward of all steps, the frozen tokenizer left out",
        "FLOP",
        True,
    ),
)
