"""Which images are held out: the same on every machine, whatever the order in which they are listed."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """Rows of each part, in their order."""

    train: list[int]
    validation: list[int]
    test: list[int]


def hold_out(names: Sequence[str], labels: Sequence[int], validation: float, test: float, key: str) -> Rows:
    """Images of each class ranked by a hash of their names: the first are for testing, the last for validation.

    Each class gives its share, and at least one of its images is for training. A new image moves at most one other
    across each boundary. A fraction of 0 asks for no such part.

    Args:
        names: one per image, each different.
        labels: their classes.
        validation: the share of validation images.
        test: the share of test images.
        key: what to blame in a message.

    Raises:
        ValueError: a part that is asked for would be empty.
    """
    ranked: dict[int, list[int]] = {}
    for row in sorted(range(len(names)), key=lambda row: _hash(names[row])):
        ranked.setdefault(labels[row], []).append(row)
    spare = {label: len(rows) - 1 for label, rows in ranked.items()}
    tests = _shares({label: len(rows) for label, rows in ranked.items()}, spare, test)
    spare = {label: spare[label] - tests[label] for label in ranked}
    validations = _shares({label: len(rows) for label, rows in ranked.items()}, spare, validation)
    wanted = {"training": True, "validation": validation > 0, "testing": test > 0}
    if (test > 0 and not sum(tests.values())) or (validation > 0 and not sum(validations.values())):
        parts_wanted = [name for name, is_wanted in wanted.items() if is_wanted]
        images = "1 image is" if len(names) == 1 else f"{len(names)} images are"
        raise ValueError(
            f"{key}: {images} too few for {' and '.join(parts_wanted)}: "
            f"a class with at least {len(parts_wanted)} images is needed"
        )
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for label, rows in ranked.items():
        end = len(rows) - validations[label]
        for into, taken in zip(parts, (rows[tests[label] : end], rows[end:], rows[: tests[label]]), strict=True):
            into.extend(taken)
    return Rows(*(sorted(rows) for rows in parts))


def _shares(counts: dict[int, int], spare: dict[int, int], fraction: float) -> dict[int, int]:
    """A share of each class, rounded so that they add up to the share of all; at least 1 in all."""
    if fraction == 0:
        return dict.fromkeys(counts, 0)
    shares = {label: min(int(count * fraction), spare[label]) for label, count in counts.items()}
    missing = max(1, round(sum(counts.values()) * fraction)) - sum(shares.values())
    # The largest remainders first; of equal ones the largest classes.
    for label in sorted(counts, key=lambda label: (-(counts[label] * fraction % 1), -counts[label], label)):
        if missing > 0 and shares[label] < spare[label]:
            shares[label] += 1
            missing -= 1
    return shares


def _hash(name: str) -> str:
    # Some file systems take accented letters apart.
    return hashlib.sha256(unicodedata.normalize("NFC", name).encode("utf-8", "surrogateescape")).hexdigest()
