"""Numbers out of range, refused in one line."""

from __future__ import annotations

import math


def require(
    key: str,
    value: float,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> None:
    """Refuse a number out of its range; nan and infinities are in none, not even in the one without bounds.

        require("quantizer.codebook_size", 0, at_least=2, at_most=2**20)
        # ValueError: quantizer.codebook_size: must be from 2 to 1048576, got 0

    Args:
        key: the option's, as it is written in a configuration.
        value: what was given.
        at_least: the smallest number allowed.
        above: the largest number that is too small.
        at_most: the largest number allowed.
        below: the smallest number that is too large.

    Raises:
        ValueError: it is.
    """
    if not (at_least <= value <= at_most and above < value < below):
        raise ValueError(f"{key}: must be {_told(at_least, above, at_most, below)}, got {value}")


def _told(at_least: float, above: float, at_most: float, below: float) -> str:
    if math.isfinite(at_least) and math.isfinite(at_most):
        return f"from {at_least} to {at_most}"
    bounds = {
        f"at least {at_least}": at_least,
        "positive" if above == 0 else f"above {above}": above,
        f"at most {at_most}": at_most,
        f"below {below}": below,
    }
    return " and ".join(told for told, bound in bounds.items() if math.isfinite(bound)) or "a finite number"
