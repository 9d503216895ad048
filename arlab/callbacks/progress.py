"""The live display: one bar per stage on a terminal, a line every tenth of the way elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_REFRESH_SECONDS = 0.5
_LINES = 10


class StageProgress(ProgressBar):
    """Shows a stage's name, step and number of steps, training loss and steps per second.

    Args:
        stage: its name.
        console: where to show it.
    """

    def __init__(self, stage: str, console: Console) -> None:
        super().__init__()
        self.stage = stage
        self.console = console
        self._enabled = True
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._shown = 0.0
        self._total = 1
        self._first_step = self._told = 0

    @property
    def is_enabled(self) -> bool:
        """Asked for by ``LightningModule.print``."""
        return self._enabled

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._begin(trainer.global_step, int(trainer.estimated_stepping_batches))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._show(trainer.global_step, lambda: self._loss(trainer))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._describe(f"{self.stage} · validating")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._describe(self.stage)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._end()

    def print(self, *args: Any, **kwargs: Any) -> None:
        self.console.print(*args, markup=False, highlight=False, soft_wrap=True)

    def _begin(self, step: int, total: int) -> None:
        self._started = time.monotonic()
        self._total = max(1, total)
        self._shown, self._first_step, self._told = 0.0, step, step * _LINES // self._total
        if self._enabled and self.console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=None),
                TextColumn("{task.completed:.0f}/{task.total:.0f} · {task.fields[told]}", markup=False),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=self.console, refresh_per_second=2, expand=True)
            self._bar.start()
            self._task = self._bar.add_task(self.stage, total=total, completed=step, told="")

    def _show(self, step: int, loss: Callable[[], str]) -> None:
        now = time.monotonic()
        tenth = step * _LINES // self._total
        # Reading the loss waits for the accelerator, so it is read only when it is shown.
        if self._bar is not None and self._task is not None:
            if now - self._shown > _REFRESH_SECONDS or step == self._total:
                self._bar.update(self._task, completed=step, told=f"{loss()}{self._speed(step, now)}")
                self._shown = now
        elif self._enabled and tenth > self._told:
            text = f"{self.stage} · step {step}/{self._total} · {loss()}{self._speed(step, now)}"
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)
            self._told = tenth

    def _speed(self, step: int, now: float) -> str:
        return f"{(step - self._first_step) / max(1e-9, now - self._started):.1f} steps/s"

    def _loss(self, trainer: L.Trainer) -> str:
        loss = trainer.callback_metrics.get("train/loss")
        return "" if loss is None else f"loss {float(loss):.3f} · "

    def _describe(self, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=text)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
