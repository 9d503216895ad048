"""metrics.json: every figure of every run with its protocol, and what rows come to."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import torch

import arlab
from arlab.compare.columns import training_flops
from arlab.compare.config_differences import config_differences
from arlab.compare.record import Evaluation, Member, Row
from arlab.compare.table import BOLD_RULE, Line, Table
from arlab.metrics.figure import Figure


def as_json(rows: Sequence[Row], table: Table, *, title: str, command: str, written: str) -> str:
    """One JSON object; NaN and infinity, which JSON has not, are null."""
    record = {
        "title": title,
        "command": command,
        "written": written,
        "versions": {
            "arlab": arlab.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "rows": [
            {
                "name": row.name,
                "figures": _results(line, table),
                "members": [_member(member) for member in row.members],
            }
            for row, line in zip(rows, table.lines, strict=True)
        ],
        "bold": BOLD_RULE,
        "mismatches": [
            {
                "letter": each.letter,
                "rows": each.rows,
                "columns": each.columns,
                "text": each.text,
                "ranked": not each.sets_apart,
            }
            for each in table.mismatches
        ],
        "config_differences": {
            each.key: dict(zip((row.name for row in rows), each.values, strict=True))
            for each in config_differences(rows)
        },
    }
    return json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _results(line: Line, table: Table) -> dict[str, Any]:
    return {
        column.key: {
            "value": _finite(cell.result.value),
            "low": _finite(cell.result.low),
            "high": _finite(cell.result.high),
            "unit": column.unit,
            "seeds": cell.result.seeds,
            "best": cell.bold,
            "marks": cell.marks.split(",") if cell.marks else [],
        }
        for column, cell in zip(table.columns, line.cells, strict=True)
        if cell.result is not None
    }


def _member(member: Member) -> dict[str, Any]:
    training = member.training
    return {
        "seed": member.seed,
        **_evaluation(member.evaluation),
        "training": None
        if training is None
        else {
            "steps": training.steps,
            "seconds": _finite(training.seconds),
            "flops_per_step": _finite(training.flops_per_step),
            "flops": _finite(training_flops(member)),
        },
    }


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    nats = evaluation.nats_by_step
    return {
        "run": evaluation.run,
        "checkpoint": evaluation.checkpoint,
        "content": evaluation.content,
        "step": evaluation.step,
        "ordering": evaluation.ordering,
        "head": evaluation.head,
        "tokenizer": evaluation.tokenizer,
        "source": evaluation.source,
        "machine": evaluation.machine,
        "measured": evaluation.measured,
        "figures": _figures(evaluation.figures),
        "tokenizer_figures": _figures(evaluation.tokenizer_figures),
        "nats_by_step": None if nats is None else [_finite(value) for value in nats],
        "tokens_by_step": evaluation.tokens_by_step,
    }


def _figures(figures: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: figure.plain() for name, figure in figures.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
