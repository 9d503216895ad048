"""Ctrl-C and SIGTERM stop a run between two steps, after a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Checkpoint

from arlab.callbacks.run_checkpoints import RunCheckpoints, accumulates
from arlab.runs.interrupted import Interrupted


class Interruption(Checkpoint):
    """Turns the first Ctrl-C or SIGTERM into a checkpoint and a clean end; a second Ctrl-C ends at once.

    As a ``Checkpoint`` it is called after all other callbacks, which the average of the weights is one of.

    Args:
        checkpoints: writes the checkpoint.

    Raises:
        Interrupted: out of the Trainer, once the checkpoint is written.
    """

    def __init__(self, checkpoints: RunCheckpoints) -> None:
        self.checkpoints = checkpoints
        self._received: int | None = None
        self._saved_next = False
        self._before: dict[int, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._listen()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Since the fit began the Trainer has put a handler of its own in front, which would stop the run without a
        # checkpoint wherever it gets to see the signal first.
        self._listen()

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before.setdefault(number, signal.signal(number, self._note))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # A step that a validation follows is saved after it, and the run stops before the next.
        if self._asked(trainer) and self.checkpoints.may_save(trainer):
            self.checkpoints.save_last(trainer)
            self._stop()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._saved_next = not trainer.sanity_checking and self._asked(trainer) and not accumulates(trainer)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._saved_next:
            self._stop()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _asked(self, trainer: L.Trainer) -> bool:
        """Whether any process received a signal; all must know, for all of them save."""
        asked = self._received is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        return asked

    def _stop(self) -> None:
        raise Interrupted(self._received or signal.SIGTERM)
