"""Experiments of a second or two, written into the working directory, and ways to stop them."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import lightning as L

VQ = """
model:
  class_path: VQTokenizer
  init_args:
    autoencoder: {class_path: ConvAutoencoder, init_args: {channels: 8, channel_multipliers: [1, 1], res_blocks: 1}}
    quantizer: {class_path: VectorQuantizer, init_args: {codebook_size: 16}}
    token_width: 4
data: {class_path: Digits, init_args: {batch_size: 256}}
trainer:
  accelerator: cpu
  max_steps: 6
  val_check_interval: 3
  check_val_every_n_epoch: null
  callbacks: [Reconstructions]
"""

RASTER = """
model:
  class_path: Generator
  init_args:
    tokenizer: experiments/tiny/tokenizers/vq.yaml
    ordering: Raster
    backbone: {class_path: Transformer, init_args: {width: 8, num_layers: 1, attention: {num_heads: 2}, dropout: 0.2}}
    head: DiscreteHead
    ema_decay: 0.9
data: {class_path: Digits, init_args: {batch_size: 256}}
trainer:
  accelerator: cpu
  max_steps: 12
  val_check_interval: 4
  check_val_every_n_epoch: null
  callbacks:
    - {class_path: SampleGrid, init_args: {num_per_class: 2}}
"""

PIXELS = ["--model.tokenizer", "PixelTokenizer"]
# Five batches an epoch as above, but of 32 images.
FEW = ["--data.validation_size", "1340", "--data.batch_size", "32", "--trainer.limit_val_batches", "1"]
FAST = [*PIXELS, *FEW, "--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]


def write_experiments(folder: Path) -> None:
    """experiments/tiny/raster.yaml and experiments/tiny/tokenizers/vq.yaml."""
    (folder / "experiments/tiny/tokenizers").mkdir(parents=True)
    (folder / "experiments/tiny/raster.yaml").write_text(RASTER)
    (folder / "experiments/tiny/tokenizers/vq.yaml").write_text(VQ)


class SignalAt(L.Callback):
    """Sends this process a signal once, at the start of a step, as long as the file ``stop`` exists.

    Args:
        step: when.
        number: which signal.
    """

    def __init__(self, *, step: int, number: int = int(signal.SIGINT)) -> None:
        self.step = step
        self.number = number
        self._sent = False

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step and Path("stop").exists() and not self._sent:
            self._sent = True
            os.kill(os.getpid(), self.number)


class RaiseAt(L.Callback):
    """Raises KeyboardInterrupt in the middle of a step, as long as the file ``stop`` exists.

    Args:
        step: when.
    """

    def __init__(self, *, step: int) -> None:
        self.step = step

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_step == self.step and Path("stop").exists():
            raise KeyboardInterrupt
