"""The checkpoints of a run and the figures that belong to them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from arlab.runs.folder import RunFolder


class RunCheckpoints(Checkpoint):
    """Keeps ``checkpoints/last.ckpt``, to go on from, and ``checkpoints/best.ckpt``, with the lowest monitored figure.

    A run ends with a validation, whatever its interval, so that figures and pictures are those of the end.

    Checkpoints are written after validations and, between them, after ``every_seconds``. Not between a step and the
    validation that follows it: a run resumed from there would skip that validation.

    Args:
        folder: the run.
        monitor: the figure that decides which checkpoint is best; lower is better.
        every_seconds: how much training may be lost to a crash.

    Raises:
        ValueError: a validation did not log the monitored figure.
    """

    def __init__(self, folder: RunFolder, *, monitor: str = "val/loss", every_seconds: float = 60.0) -> None:
        self.folder = folder
        self.monitor = monitor
        self.every_seconds = every_seconds
        self.figures: dict[str, float] = {}
        self.best_figures: dict[str, float] = {}
        self.best_step = 0
        self._seconds_before = 0.0
        self._started = self._saved = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent in this run, interruptions left out."""
        return self._seconds_before + time.monotonic() - self._started

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._started = self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        validates = bool(trainer.enable_validation)
        if _final(trainer):
            # A Trainer that is told to stop validates first.
            trainer.should_stop = True
            if not validates:
                self.save_last(trainer)
        elif time.monotonic() - self._saved > self.every_seconds and not self.validates_next(trainer):
            self.save_last(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            return
        logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.figures = {name: value for name, value in logged.items() if name.startswith("val/")}
        if self.monitor not in self.figures:
            raise ValueError(
                f"{type(pl_module).__name__} does not log {self.monitor!r}, which says which checkpoint is best; "
                f"it logs {', '.join(sorted(logged)) or 'nothing'}"
            )
        better = not self.best_figures or self.figures[self.monitor] < self.best_figures[self.monitor]
        # All processes save or none does, even where each logged its own figure.
        if trainer.strategy.broadcast(better):
            self.best_figures, self.best_step = self.figures, trainer.global_step
            trainer.save_checkpoint(self.folder.best)
        self.save_last(trainer)

    def save_last(self, trainer: L.Trainer) -> None:
        """Write the checkpoint to go on from."""
        trainer.save_checkpoint(self.folder.last)
        self._saved = time.monotonic()

    def validates_next(self, trainer: L.Trainer) -> bool:
        """Whether a validation, or the end of the epoch or of the run, follows the step that has just ended."""
        if _final(trainer) or trainer.is_last_batch:
            return True
        loop = trainer.fit_loop.epoch_loop
        step = loop.total_batch_idx if trainer.check_val_every_n_epoch is None else loop.batch_idx
        interval = trainer.val_check_batch
        return bool(trainer.enable_validation and interval and (step + 1) % interval == 0)

    def state_dict(self) -> dict[str, Any]:
        return {
            "figures": self.figures,
            "best_figures": self.best_figures,
            "best_step": self.best_step,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.figures = state_dict["figures"]
        self.best_figures = state_dict["best_figures"]
        self.best_step = state_dict["best_step"]
        self._seconds_before = state_dict["seconds"]


def _final(trainer: L.Trainer) -> bool:
    """Whether this is the last step of the run."""
    last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
    return bool(trainer.global_step == trainer.max_steps or (last_epoch and trainer.is_last_batch))


def checkpoint_path(folder: RunFolder, named: str | None) -> Path | None:
    """The checkpoint to go on from: as named, 'last' for the run's; else the run's last if there is one.

    Raises:
        ValueError: what was named is not there.
    """
    if named not in (None, "last"):
        path = Path(str(named))
        if not path.is_file():
            raise ValueError(f"ckpt_path: no such checkpoint: {named}")
        return path
    if folder.last.is_file():
        return folder.last
    if named == "last":
        raise ValueError(f"ckpt_path: {folder.path} has no last checkpoint yet")
    return None
