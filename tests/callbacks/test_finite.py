"""A loss that is no number ends the run at once: what was found is told, the batch is kept, no checkpoint is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from arlab.callbacks.finite import FiniteLoss, nonfinite_weights
from arlab.cli.training import main
from tests.cli.tiny_experiments import FAST, write_experiments

FIT = ["fit", "--config", "experiments/tiny/raster.yaml", *FAST, "--trainer.callbacks", "[]"]


class Spoil(L.Callback):
    """Makes something NaN or infinite at the start of a step.

    Args:
        step: when.
        what: image, weight or loss.
    """

    def __init__(self, *, step: int, what: str) -> None:
        self.step = step
        self.what = what

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step != self.step:
            return
        if self.what == "image":
            batch.image[3, 0, 2, 2] = torch.nan
        elif self.what == "weight":
            with torch.no_grad():
                next(pl_module.parameters()).view(-1)[0] = torch.inf
        else:
            loss = pl_module.objective.loss
            pl_module.objective.loss = lambda *given: loss(*given) / 0


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    write_experiments(tmp_path)


def spoiled(what: str, *words: str) -> list[str]:
    spoil = f"{{class_path: tests.callbacks.test_finite.Spoil, init_args: {{step: 6, what: {what}}}}}"
    return [*FIT, "--trainer.callbacks+", spoil, *words]


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ("loss", "train/loss is inf at step 6: images and weights are finite, so it arose inside the model"),
        (
            "weight",
            "train/loss is nan at step 6: an earlier update has left weights that are not finite (backbone.",
        ),
    ],
)
def test_it_is_told_once_and_the_batch_is_kept(what: str, found: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(spoiled(what)) == 2
    error = capsys.readouterr().err
    (run,) = Path("runs/tiny/raster").iterdir()
    kept = run / "nonfinite/step-000006.safetensors"
    assert error.count("\n") == 1
    assert error.startswith(f"arlab: error: {found}")
    assert (
        f"; the batch is in {kept}; usual causes: a learning rate too high (now 0.00014); gradients that are" in error
    )
    batch = load_file(kept)
    assert {name: value.shape[0] for name, value in batch.items()} == {"image": 32, "label": 32, "row": 32}
    assert np.asarray(Image.open(kept.with_suffix(".png"))).ndim == 3
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    assert not nonfinite_weights_of(saved["current_model_state"])
    # Mended, the same command goes on from before it happened.
    assert main(FIT) == 0
    assert f"going on from {run}/checkpoints/last.ckpt" in capsys.readouterr().out


def test_images_that_are_not_finite_are_found_first(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["fit", "--config", "experiments/tiny/tokenizers/vq.yaml", "--trainer.logger", "false"]
    spoil = "{class_path: tests.callbacks.test_finite.Spoil, init_args: {step: 2, what: image}}"
    assert main([*words, "--trainer.callbacks", f"[{spoil}]"]) == 2
    error = capsys.readouterr().err
    assert (
        "train/loss is nan at step 2: image 3 of the batch holds values that are not finite; the batch is in" in error
    )
    assert error.endswith("; mend the data\n")


def test_weights_are_looked_at_before_they_are_saved(capsys: pytest.CaptureFixture[str]) -> None:
    """The last step has no next one whose loss would tell."""
    assert main([*spoiled("weight"), "--trainer.max_steps", "7", "--trainer.limit_val_batches", "0"]) == 2
    assert "is nan at step 6" in capsys.readouterr().err

    class Late(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([1.0, torch.nan]))
            self.large = torch.nn.Parameter(torch.full((4,), 1e38))

    assert nonfinite_weights(Late()) == ["weight"]


def test_on_an_accelerator_it_is_told_a_step_later(tmp_path: Path) -> None:
    """A loss that lies elsewhere is not waited for: here one that only says it does."""

    class Elsewhere(Tensor):
        @property
        def device(self) -> torch.device:  # type: ignore[override]
            return torch.device("cuda")

    def loss(value: float) -> Tensor:
        return torch.tensor(value).as_subclass(Elsewhere)

    module = torch.nn.Linear(1, 1)
    trainer = L.Trainer(default_root_dir=tmp_path, logger=False, enable_progress_bar=False, accelerator="cpu")
    watch = FiniteLoss()
    watch.on_before_backward(trainer, module, loss(1.0))
    watch.on_before_backward(trainer, module, loss(float("nan")))
    with pytest.raises(ValueError, match="train/loss is nan at step 0: images are finite; usual causes"):
        watch.on_before_backward(trainer, module, loss(1.0))
    watch.on_before_backward(trainer, module, loss(float("inf")))
    with pytest.raises(ValueError, match="train/loss is inf"):
        watch.on_validation_start(trainer, module)


def nonfinite_weights_of(state: dict[str, Tensor]) -> list[str]:
    return [name for name, value in state.items() if not value.isfinite().all()]
