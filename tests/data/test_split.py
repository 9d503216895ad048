"""Held-out images: the same everywhere, of every class, and hardly moved by a new file."""

from __future__ import annotations

import random

import pytest

from arlab.data.files.split import Rows, hold_out


def parts(names: list[str], labels: list[int], validation: float = 0.1, test: float = 0.2) -> list[set[str]]:
    rows = hold_out(names, labels, validation, test, "data.root")
    return [{names[row] for row in part} for part in (rows.train, rows.validation, rows.test)]


NAMES = [f"{kind}/{number}.png" for kind in "abc" for number in range({"a": 100, "b": 40, "c": 4}[kind])]
LABELS = ["abc".index(name[0]) for name in NAMES]


def test_parts_are_a_partition_with_every_classs_share() -> None:
    train, validation, test = parts(NAMES, LABELS)
    assert len(train) + len(validation) + len(test) == len(NAMES) == len(train | validation | test)
    for kind, sizes in {"a": (70, 10, 20), "b": (28, 4, 8), "c": (3, 0, 1)}.items():
        counts = tuple(sum(name.startswith(kind) for name in part) for part in (train, validation, test))
        assert counts == sizes


def test_the_order_of_listing_does_not_matter() -> None:
    order = list(range(len(NAMES)))
    random.Random(0).shuffle(order)
    assert parts([NAMES[n] for n in order], [LABELS[n] for n in order]) == parts(NAMES, LABELS)


def test_the_split_is_the_same_on_every_machine() -> None:
    """The hash of names decides, which is not Python's own: these were drawn once and for all."""
    names = [f"{number}.png" for number in range(10)]
    assert hold_out(names, [0] * 10, 0.2, 0.2, "") == Rows([1, 2, 3, 4, 7, 8], [5, 9], [0, 6])


def test_accents_are_told_apart_by_no_file_system() -> None:
    apart = [name.replace("a/", "a\u0301/") for name in NAMES]
    together = [name.replace("a/", "\u00e1/") for name in NAMES]
    assert hold_out(apart, LABELS, 0.1, 0.1, "") == hold_out(together, LABELS, 0.1, 0.1, "")


@pytest.mark.parametrize("number", range(20))
def test_a_new_image_moves_at_most_one_other_across_each_boundary(number: int) -> None:
    old = parts(NAMES, LABELS)
    new = parts([*NAMES, f"a/new{number}.png"], [*LABELS, 0])
    moved = [name for name in NAMES for one, other in zip(old, new, strict=True) if (name in one) and name not in other]
    assert len(moved) <= 2


@pytest.mark.parametrize("counts", [[3], [1, 1, 3], [2, 2], [30, 1, 1]])
def test_few_images_still_fill_every_part(counts: list[int]) -> None:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    names = [str(number) for number in range(len(labels))]
    rows = hold_out(names, labels, 0.1, 0.1, "data.root: x")
    assert rows.validation
    assert rows.test
    assert {labels[row] for row in rows.train} == set(range(len(counts)))


@pytest.mark.parametrize(
    ("labels", "test", "message"),
    [
        (
            [0, 0],
            0.1,
            "x: 2 images are too few for training and validation and testing: a class with at least 3 images is needed",
        ),
        ([0], 0.0, "x: 1 image is too few for training and validation: a class with at least 2 images is needed"),
    ],
)
def test_too_few_are_refused(labels: list[int], test: float, message: str) -> None:
    with pytest.raises(ValueError) as told:  # noqa: PT011
        hold_out([str(n) for n in range(len(labels))], labels, 0.1, test, "x")
    assert str(told.value) == message
