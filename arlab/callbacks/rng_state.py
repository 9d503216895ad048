"""The state of torch's random numbers in checkpoints, so that a resumed run draws what it would have drawn."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch


class RngState(L.Callback):
    """Saves the generators of the CPU and of the process's accelerator, and restores them before the first step.

    Lightning saves neither. Dropout draws on them; batches and labels have generators of their own.
    """

    def __init__(self) -> None:
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        accelerator = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
        return {"cpu": torch.get_rng_state(), "cuda": accelerator}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._loaded is None:
            return
        torch.set_rng_state(self._loaded["cpu"].cpu())
        if self._loaded["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self._loaded["cuda"].cpu())
        self._loaded = None
