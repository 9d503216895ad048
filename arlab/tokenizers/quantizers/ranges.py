"""Refusals of options out of range, in one line each."""

from __future__ import annotations

import math

_MOST_CODES = 2**20  # the distances of 1,000 latents then fill 4 GiB


def refuse_codebook_size(codebook_size: int) -> None:
    """A number of codes that cannot be listed.

    Raises:
        ValueError: fewer than 2, or too many.
    """
    if codebook_size < 2:
        raise ValueError(f"quantizer.codebook_size: must be at least 2, got {codebook_size}")
    if codebook_size > _MOST_CODES:
        raise ValueError(f"quantizer.codebook_size: must be at most {_MOST_CODES}, got {codebook_size}")


def refuse_share(**values: float) -> None:
    """Options that must be in [0, 1).

    Raises:
        ValueError: one is not.
    """
    for key, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"quantizer.{key}: must be in [0, 1), got {value}")


def refuse_not_positive(part: str, **values: float) -> None:
    """Options that must be finite and positive.

    Raises:
        ValueError: one is not.
    """
    for key, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{part}.{key}: must be positive, got {value}")


def refuse_negative(part: str, **values: float) -> None:
    """Options that must be finite and at least 0.

    Raises:
        ValueError: one is not.
    """
    for key, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{part}.{key}: must be at least 0, got {value}")
