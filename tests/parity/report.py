"""How close arlab comes to published implementations: ``python -m tests.parity.report``."""

from __future__ import annotations

import torch

from tests.parity import llamagen, nar, randar, var

MODELS = (llamagen, nar, var, randar)


def main() -> int:
    """Print one row per quantity; 1 if any is off by more than tolerated."""
    torch.set_num_threads(1)
    rows = [measured for model in MODELS for measure in model.QUANTITIES for measured in measure()]
    print(f"{'model':<10} {'quantity':<50} {'tolerance':<20} {'error':>9}")
    for row in rows:
        verdict = "" if row.passed else "  FAILED"
        print(f"{row.model:<10} {row.quantity:<50} {row.tolerance:<20} {row.error:>9.2g}{verdict}")
    failed = sum(not row.passed for row in rows)
    print(f"{len(rows)} quantities, {failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
