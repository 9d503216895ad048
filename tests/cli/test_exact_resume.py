"""Wherever a run is stopped or killed, the losses of its steps are, bit by bit, those of a run that was not.

Gray and RGB images that are not square, cropped and flipped at random; a tokenizer whose codebook follows moving
averages and replaces dead codes at random; a generator with drawn orders, dropout, dropped labels and an average of its
weights. Five batches an epoch, a validation every four steps.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from arlab.cli.training import main

STEPS = 12
TOKENIZER = """
model:
  class_path: VQTokenizer
  init_args:
    autoencoder: {class_path: ConvAutoencoder, init_args: {channels: 8, channel_multipliers: [1, 1], res_blocks: 1}}
    quantizer: {class_path: VectorQuantizer, init_args: {codebook_size: 16, revive_below: 0.5}}
    token_width: 4
"""
GENERATOR = """
model:
  class_path: Generator
  init_args:
    tokenizer: {class_path: PixelTokenizer, init_args: {num_levels: 4}}
    ordering: Masked
    backbone: {class_path: Transformer, init_args: {width: 8, num_layers: 1, attention: {num_heads: 2}, dropout: 0.2}}
    head: DiscreteHead
    ema_decay: 0.9
"""
COMMON = """
data:
  class_path: ImageArrays
  init_args:
    file: pictures.npz
    transforms: [RandomCrop, RandomFlip]
    image_size: [6, 4]
    batch_size: 8
trainer:
  accelerator: cpu
  max_steps: 12
  val_check_interval: 4
  check_val_every_n_epoch: null
  logger: false
  enable_progress_bar: false
  callbacks: [{class_path: tests.cli.test_exact_resume.Losses}]
"""


class Losses(L.Callback):
    """Writes the loss of each step, bit by bit, into losses.json of the run; crashes where the file ``crash`` says."""

    def __init__(self) -> None:
        pass

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        path = Path(trainer.default_root_dir) / "losses.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, str(trainer.global_step - 1): float(outputs["loss"]).hex()}))

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        plan = Path("crash")
        if not plan.exists():
            return
        step, how = plan.read_text().split()
        if trainer.global_step == int(step):
            plan.unlink()
            if how == "dies":
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    Path("tokenizer.yaml").write_text(TOKENIZER + COMMON)
    Path("generator.yaml").write_text(GENERATOR + COMMON)
    rng = np.random.default_rng(0)
    np.savez("pictures.npz", x=rng.integers(0, 256, (54, 9, 7, 3), dtype=np.uint8), y=np.arange(54) % 3)


def trained(name: str, root: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The losses of a finished run, and everything its last checkpoint holds."""
    (run,) = (Path(root) / name).iterdir()
    held = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert held["global_step"] == STEPS
    tensors = {f"averaged {key}": value for key, value in held["state_dict"].items()}
    tensors |= {f"current {key}": value for key, value in held.get("current_model_state", {}).items()}
    for index, state in held["optimizer_states"][0]["state"].items():
        tensors |= {f"{index} {key}": value for key, value in state.items()}
    tensors["random numbers"] = held["callbacks"]["RngState"]["cpu"]
    return json.loads((run / "losses.json").read_text()), tensors


# Inside an epoch, before a validation, at an epoch's end and right after a validation.
SOME = (2, 3, 4, 8)


@pytest.mark.parametrize("steps", [SOME, pytest.param(range(STEPS - 1), marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("how", ["stopped", "dies"])
@pytest.mark.parametrize("name", ["tokenizer", "generator"])
def test_losses_are_the_same(name: str, how: str, steps: Sequence[int], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "--config", f"{name}.yaml", "--run_root"]
    assert main([*command, "straight"]) == 0
    losses, tensors = trained(name, "straight")
    assert list(losses) == [str(step) for step in range(STEPS)]
    assert len(set(losses.values())) == STEPS
    fresh = 0
    for step in steps:
        root = f"{how}_{step}"
        Path("crash").write_text(f"{step} {how}")
        assert main([*command, root]) == (130 if how == "dies" else 143)
        saved = bool(list(Path(root).glob("**/last.ckpt")))
        fresh += not saved
        assert main([*command, root, *(["--ckpt_path", "last"] if saved else [])]) == 0
        again, same = trained(name, root)
        assert again == losses, f"stopped at step {step}"
        assert [key for key, value in tensors.items() if not torch.equal(value, same[key])] == []
    # What dies before the first validation has nothing to go on from.
    assert fresh == (sum(step < 4 for step in steps) if how == "dies" else 0)
    assert capsys.readouterr().out.count("going on from") == len(steps) - fresh
