"""How close arlab comes to published implementations: ``python -m tests.parity.report``."""

from __future__ import annotations

import torch

from tests.goldens import MissingGoldenError
from tests.parity import (
    acdit,
    flexvar,
    flowar,
    llamagen,
    llamagen_text,
    llamagen_tokenizer,
    mar,
    mar_head,
    mar_tokenizer,
    maskgit,
    maskgit_tokenizer,
    nar,
    par,
    randar,
    rar,
    var,
    var_tokenizer,
    xar,
)
from tests.parity.measured import Measured

MODELS = (
    llamagen,
    llamagen_text,
    nar,
    par,
    var,
    flexvar,
    flowar,
    randar,
    rar,
    maskgit,
    mar,
    mar_head,
    xar,
    acdit,
    var_tokenizer,
    llamagen_tokenizer,
    mar_tokenizer,
    maskgit_tokenizer,
)


def main() -> int:
    """Print one row per quantity, and what could not be measured; 1 if any is off by more than tolerated."""
    torch.set_num_threads(1)
    rows: list[Measured] = []
    skipped: list[str] = []
    for model in MODELS:
        for measure in model.QUANTITIES:
            try:
                rows.extend(measure())
            except MissingGoldenError as missing:
                skipped.append(f"{model.METER.model:<12} {measure.__name__}: skipped, {missing}")
    print(f"{'model':<12} {'quantity':<50} {'tolerance':<20} {'error':>9}")
    for row in rows:
        verdict = "" if row.passed else "  FAILED"
        print(f"{row.model:<12} {row.quantity:<50} {row.tolerance:<20} {row.error:>9.2g}{verdict}")
    for line in skipped:
        print(line)
    failed = sum(not row.passed for row in rows)
    print(f"{len(rows)} quantities, {failed} failed" + f", {len(skipped)} groups skipped" * bool(skipped))
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
