"""Which rows share a tokenizer: what their nats need to compare."""

from __future__ import annotations

import math

from arlab.compare.record import Row


def tokenizer_of(row: Row) -> str | None:
    """What tells the tokenizer of a row from others; None where its members do not share one."""
    keys = {member.evaluation.tokenizer_sha256 for member in row.members}
    return keys.pop() if len(keys) == 1 else None


def tokenizer_text(row: Row) -> str:
    """The tokenizer's class, with the PSNR that tells it from others of that class."""
    evaluation = row.members[0].evaluation
    figure = evaluation.tokenizer_figures.get("psnr")
    if figure is None:
        return evaluation.tokenizer
    lossless = math.isinf(figure.value)
    return f"{evaluation.tokenizer}, lossless" if lossless else f"{evaluation.tokenizer} of {figure.value:.2f} dB"
