"""In what the runs of a comparison differ, as TensorBoard's HParams tab takes it: flat keys, plain values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from arlab.compare.config_differences import ABSENT, Difference, config_differences
from arlab.compare.record import Member, Row

Value = float | str
_TOLD_ANYHOW = frozenset({"experiment", "seed_everything", "model.ordering", "model.head"})
_ASIDE = ("model.facts.", "trainer.callbacks")


def hyperparameters(rows: Sequence[Row]) -> list[dict[str, Value]]:
    """Of all members, row by row: ordering, head, tokenizer, seed and the settings in which rows differ.

    A setting is left out of a row that does not have it, as an option of a class it does not use. Where all values of
    a key are numbers they are numbers, else text.
    """
    differing = [each for each in config_differences(rows) if _counts(each)]
    told = [
        _always(member) | {each.key: each.values[number] for each in differing if each.values[number] != ABSENT}
        for number, row in enumerate(rows)
        for member in row.members
    ]
    numeric = {key for each in told for key in each if _are_numbers(other[key] for other in told if key in other)}
    return [{key: float(text) if key in numeric else text for key, text in each.items()} for each in told]


def _counts(difference: Difference) -> bool:
    key = difference.key
    told = key not in _TOLD_ANYHOW and not key.startswith(_ASIDE)
    return told and len(set(difference.values) - {ABSENT}) > 1


def _always(member: Member) -> dict[str, str]:
    of = member.evaluation
    seed = member.config.get("seed_everything") if member.seed is None else member.seed
    always = {"ordering": of.ordering, "head": of.head, "tokenizer": of.tokenizer}
    return always if seed is None else {**always, "seed": str(seed)}


def _are_numbers(texts: Iterable[str]) -> bool:
    try:
        return all(math.isfinite(float(text)) for text in texts)
    except ValueError:
        return False
