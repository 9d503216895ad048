"""The checkpoints of a run and the figures that belong to them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from arlab.callbacks.finite import refuse_nonfinite_weights
from arlab.runs.folder import RunFolder


@dataclass(frozen=True)
class Best:
    """Which checkpoint is kept as the best.

    Attributes:
        metric: the figure of a validation that decides, as it is logged: val/loss, val/psnr, ...
        higher: whether more of it is better.
    """

    metric: str = "val/loss"
    higher: bool = False

    def prefers(self, new: float, old: float) -> bool:
        """Whether a figure is better than another; any number is better than none."""
        better = new > old if self.higher else new < old
        return better or (math.isfinite(new) and not math.isfinite(old))


class RunCheckpoints(Checkpoint):
    """Keeps ``checkpoints/last.ckpt``, to go on from, and ``checkpoints/best.ckpt``, with the best validation figure.

    A run ends with a validation, whatever its interval, so that figures and pictures are those of the end, and then
    with a checkpoint, validated or not.

    Checkpoints are written after validations and, between them, after ``every_seconds``. Not between a step and the
    validation that follows it: a run resumed from there would skip that validation. And not while gradients
    accumulate, which no checkpoint holds.

    Args:
        folder: the run.
        best: the figure that decides which checkpoint is best.
        every_seconds: how much training may be lost to a crash.

    Raises:
        ValueError: a validation did not log the figure that decides, or the weights are not finite any more.
    """

    def __init__(self, folder: RunFolder, *, best: Best | None = None, every_seconds: float = 60.0) -> None:
        self.folder = folder
        self.best = Best() if best is None else best
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
        metric = self.best.metric
        if metric not in self.figures:
            raise ValueError(
                f"best.metric: {type(pl_module).__name__} does not log {metric!r}; "
                f"it logs {', '.join(sorted(self.figures)) or 'nothing'}"
            )
        better = metric not in self.best_figures or self.best.prefers(self.figures[metric], self.best_figures[metric])
        # All processes save or none does, even where each logged its own figure.
        if trainer.strategy.broadcast(better):
            self.best_figures, self.best_step = self.figures, trainer.global_step
            self._save(trainer, self.folder.best)
        if not (ends(trainer) or accumulates(trainer)):
            self.save_last(trainer)

    def save_last(self, trainer: L.Trainer) -> None:
        """Write the checkpoint to go on from."""
        self._save(trainer, self.folder.last)
        self._saved = time.monotonic()

    def _save(self, trainer: L.Trainer, path: Path) -> None:
        # Not over the last checkpoint that a run could go on from.
        refuse_nonfinite_weights(trainer.lightning_module, trainer.global_step)
        trainer.save_checkpoint(path)

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
            "run": self.folder.key,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict.get("run", self.folder.key) != self.folder.key:
            # Another run's checkpoint: its best one does not lie in this folder, and its time was not spent here.
            return
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
