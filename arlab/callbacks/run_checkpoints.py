"""The checkpoints of a run and the figures that belong to them."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from arlab.runs.folder import RunFolder


class RunCheckpoints(Checkpoint):
    """Keeps ``checkpoints/last.ckpt``, to go on from, and ``checkpoints/best.ckpt``, with the lowest monitored figure.

    A run ends with a validation, whatever its interval, so that figures and pictures are those of the end, and then
    with a checkpoint, validated or not.

    Checkpoints are written after validations and, between them, after ``every_seconds``. Not between a step and the
    validation that follows it: a run resumed from there would skip that validation. And not while gradients
    accumulate, which no checkpoint holds.

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
        # Counting the steps of so many epochs has begun to load from the first batch on. Where to go on from is
        # restored after this; then the loader is made again.
        trainer.fit_loop._combined_loader = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.fit_loop.epoch_progress.current.ready == trainer.current_epoch:
            # Saved after the last step of an epoch: the next one is not in its middle, as the Trainer would have it.
            trainer.fit_loop.reset_restart_stage()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if ends(trainer):
            # A Trainer that is told to stop validates first, unless this epoch has none or the minimum is not reached.
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = None
            trainer.fit_loop.min_epochs = trainer.fit_loop.epoch_loop.min_steps = None
        elif self._overdue(trainer) and self.may_save(trainer):
            self.save_last(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Not after the validation: only now does the Trainer count the last epoch as over.
        if ends(trainer):
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
        new, best = self.figures[self.monitor], self.best_figures.get(self.monitor, math.nan)
        better = not self.best_figures or new < best or (math.isfinite(new) and not math.isfinite(best))
        # All processes save or none does, even where each logged its own figure.
        if trainer.strategy.broadcast(better):
            self.best_figures, self.best_step = self.figures, trainer.global_step
            trainer.save_checkpoint(self.folder.best)
        if not (ends(trainer) or accumulates(trainer)):
            self.save_last(trainer)

    def save_last(self, trainer: L.Trainer) -> None:
        """Write the checkpoint to go on from."""
        trainer.save_checkpoint(self.folder.last)
        self._saved = time.monotonic()

    def may_save(self, trainer: L.Trainer) -> bool:
        """Whether a run could go on from after the batch that has just ended as if it had not stopped."""
        loader = trainer.fit_loop._data_fetcher
        assert loader is not None
        validates_next = trainer.fit_loop.epoch_loop._should_check_val_fx(loader)
        return not (ends(trainer) or validates_next or accumulates(trainer))

    def _overdue(self, trainer: L.Trainer) -> bool:
        overdue = time.monotonic() - self._saved > self.every_seconds
        # Clocks differ, but saving takes all processes.
        return trainer.strategy.reduce_boolean_decision(overdue, all=False) if trainer.world_size > 1 else overdue

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


def ends(trainer: L.Trainer) -> bool:
    """Whether the batch that has just ended is the last of the run."""
    last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
    stopped = trainer.should_stop and trainer.fit_loop._can_stop_early
    return bool(trainer.global_step == trainer.max_steps or (last_epoch and trainer.is_last_batch) or stopped)


def accumulates(trainer: L.Trainer) -> bool:
    """Whether the next batch adds to the gradients of the last one."""
    return trainer.fit_loop.epoch_loop._should_accumulate()


def checkpoint_path(folder: RunFolder, named: str | None) -> Path | None:
    """The checkpoint to go on from.

    One of the run's own as named, 'last' for its last. A run that starts from another one's starts there once; then,
    like a run for which nothing is named, it goes on from its own last if there is one.

    Raises:
        ValueError: what was named is not there.
    """
    if named not in (None, "last"):
        path = Path(str(named))
        if not path.is_file():
            raise ValueError(f"ckpt_path: no such checkpoint: {named}")
        if folder.holds(path) or not folder.last.is_file():
            return path
    if folder.last.is_file():
        return folder.last
    if named == "last":
        raise ValueError(f"ckpt_path: {folder.path} has no last checkpoint yet")
    return None
