"""Trained for a few steps, without files that are not asked for: a Trainer, the digits, and a stop on the way."""

from __future__ import annotations

from pathlib import Path

import lightning as L

from arlab.data.digits import Digits


def trainer(folder: Path, steps: int, **options: object) -> L.Trainer:
    """On the CPU, quiet, without checkpoints; ``options`` are the Trainer's."""
    settings: dict[str, object] = {"enable_checkpointing": False, "num_sanity_val_steps": 0, **options}
    return L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,  # type: ignore[arg-type]
    )


def digits() -> Digits:
    """Four training batches an epoch."""
    return Digits(batch_size=100, validation_size=1100)


class StopAfter(L.Callback):
    """Ends a run early: its schedule still spans all of ``max_steps``.

    Args:
        steps: after so many.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer: L.Trainer, *rest: object) -> None:
        trainer.should_stop = trainer.global_step >= self.steps
