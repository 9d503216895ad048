"""When checkpoints are written, and which is best."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from arlab.callbacks.run_checkpoints import RunCheckpoints
from arlab.runs.folder import RunFolder


class Line(L.LightningModule):
    """One weight; its validation losses are given."""

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.losses = losses

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return (self.weight * batch).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.losses[self.global_step - 1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Told(RunCheckpoints):
    """Writes down after which steps it saved; nothing waits."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder, every_seconds=-1.0)
        self.after: list[tuple[int, int]] = []

    def save_last(self, trainer: L.Trainer) -> None:
        super().save_last(trainer)
        self.after.append((trainer.global_step, trainer.fit_loop.epoch_loop.total_batch_idx + 1))


def fit(folder: Path, losses: list[float], batches: int, **options: Any) -> Told:
    told = Told(RunFolder(folder))
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[told],
        **options,
    )
    loaders = [DataLoader([torch.ones(1)] * count) for count in (batches, 1)]
    trainer.fit(Line(losses), *loaders)
    return told


@pytest.mark.parametrize(
    ("losses", "best"),
    [([3.0, 2.0, 4.0], 2), ([math.nan, 5.0, 6.0], 2), ([3.0, math.nan, 2.0], 3), ([math.nan] * 3, 1)],
    ids=str,
)
def test_the_lowest_figure_is_best_and_a_number_is_better_than_none(
    losses: list[float], best: int, tmp_path: Path
) -> None:
    told = fit(tmp_path, losses, 3, max_epochs=1, val_check_interval=1)
    assert told.best_step == best
    assert torch.load(told.folder.best, weights_only=True)["global_step"] == best


def test_epochs_of_one_batch_are_saved_without_validation(tmp_path: Path) -> None:
    told = fit(tmp_path, [], 1, max_epochs=4, limit_val_batches=0)
    assert [step for step, _ in told.after] == [1, 2, 3, 4]


def test_nothing_is_saved_while_gradients_accumulate(tmp_path: Path) -> None:
    told = fit(tmp_path, [1.0] * 9, 7, max_epochs=1, val_check_interval=3, accumulate_grad_batches=2)
    # Validated after batch 3, within a window, and after batch 6; batch 7 is a window of its own.
    assert told.after == [(1, 2), (2, 4), (3, 6), (4, 7)]
    assert told.best_step == 1
