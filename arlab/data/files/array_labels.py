"""Arrays of labels to class names and numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arlab.data.files.array_files import Array


def classes_of(labels: Sequence[Array], names: Sequence[str], given: Sequence[str] | None) -> tuple[str, ...]:
    """Class names, from what labels there are: strings, or numbers 0 .. K - 1.

    Args:
        labels: an array per part, the training images' first.
        names: how they are called.
        given: names for the numbers.

    Raises:
        ValueError: labels are of another kind, negative, or leave a gap.
    """
    for array, name in zip(labels, names, strict=True):
        if array.ndim != 1 or array.dtype.kind not in "uiU":
            raise ValueError(
                f"data.labels: array {name!r} has shape {array.shape} and type {array.dtype}; "
                "labels are one integer or string per image"
            )
    if len({array.dtype.kind == "U" for array in labels}) > 1:
        raise ValueError(f"data.labels: {names[0]!r} and {names[1]!r} are not both numbers, nor both strings")
    values = sorted({value for array in labels for value in np.unique(array).tolist()})
    if labels[0].dtype.kind == "U":
        if given is not None and sorted(given) != values:
            raise ValueError(f"data.class_names: labels are strings already: {', '.join(values[:10])}; leave it out")
        return tuple(given or values)
    if values[0] < 0:
        raise ValueError(f"data.labels: label {values[0]} is negative; number classes from 0")
    if given is not None and values[-1] >= len(given):
        raise ValueError(f"data.class_names: {len(given)} names, but there is a label {values[-1]}")
    missing = set(range(values[-1] + 1)) - set(values)
    if given is None and missing:
        raise ValueError(
            f"data.labels: no image has label {min(missing)}, but there are labels up to {values[-1]}; "
            "number classes without gaps, or give class_names"
        )
    return tuple(given) if given is not None else tuple(str(value) for value in values)


def numbers_of(labels: Array, class_names: Sequence[str]) -> list[int]:
    """Labels as class indices."""
    if labels.dtype.kind != "U":
        return [int(label) for label in labels]
    index = {name: number for number, name in enumerate(class_names)}
    return [index[str(label)] for label in labels]
