"""Nats per token of each decoding step, over the share of the image's tokens that is known by then."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arlab.compare.charts import Chart
from arlab.compare.palette import Look, look_of
from arlab.compare.record import Evaluation, Row
from arlab.compare.tokenizers_alike import tokenizer_of, tokenizer_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_FOR_MARKERS = 30


@dataclass(frozen=True)
class _Steps:
    look: Look
    known: list[float]
    nats: list[float]


def step_charts(rows: Sequence[Row]) -> tuple[Chart, ...]:
    """One chart per tokenizer; without rows that have bounds only."""
    groups: dict[object, list[int]] = {}
    for number, row in enumerate(rows):
        if any(_steps(member.evaluation, look_of(number)) for member in row.members):
            groups.setdefault(tokenizer_of(row) or (row.name,), []).append(number)
    return tuple(_chart(rows, numbers) for numbers in groups.values())


def rows_without_steps(rows: Sequence[Row]) -> tuple[str, ...]:
    """Names of the rows that no chart shows."""
    return tuple(row.name for row in rows if not any(_steps(each.evaluation, look_of(0)) for each in row.members))


def _chart(rows: Sequence[Row], numbers: Sequence[int]) -> Chart:
    drawn = [
        steps
        for number in numbers
        for member in rows[number].members
        if (steps := _steps(member.evaluation, look_of(number)))
    ]
    names = ", ".join(rows[number].name for number in numbers)
    title = f"on {tokenizer_text(rows[numbers[0]])}"
    return Chart(title, f"nats per token by decoding step {title}: {names}", functools.partial(_draw, drawn))


def _steps(evaluation: Evaluation, look: Look) -> _Steps | None:
    """Where each step starts, as the share of all tokens known then; None without exact nats."""
    counts, nats = evaluation.tokens_by_step, evaluation.nats_by_step
    total = sum(counts)
    if not nats or len(nats) != len(counts) or total <= 0:
        return None
    known, so_far = [], 0
    for count in counts:
        known.append(so_far / total)
        so_far += count
    kept = [(x, y) for x, y in zip(known, nats, strict=True) if math.isfinite(y)]
    return _Steps(look, [x for x, _ in kept], [y for _, y in kept]) if kept else None


def _draw(drawn: Sequence[_Steps], axes: Axes) -> None:
    for steps in drawn:
        look = steps.look
        marker = look.marker if len(steps.known) <= _MOST_FOR_MARKERS else ""
        # What a step predicts, it predicts from what is known at its start: a level line until the next step starts.
        axes.step(
            [*steps.known, 1.0],
            [*steps.nats, steps.nats[-1]],
            where="post",
            color=look.colour,
            linestyle=look.dash,
            linewidth=1.2,
        )
        if marker:
            axes.plot(steps.known, steps.nats, color=look.colour, linestyle="", marker=marker, markersize=4)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of tokens known")
    axes.set_ylabel("nats per token")
