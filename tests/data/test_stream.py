"""Batches are a function of the seed and the step: across epochs, resumptions, workers and processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from arlab.data.data import Batch
from arlab.data.digits import Digits
from arlab.data.stream import EvaluationBatches, Images, TrainingStream


class Recorder(L.LightningModule):
    """Remembers which images it was shown, and learns a little from them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 1)
        self.rows: list[list[int]] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.rows.append(batch.row.tolist())
        loss: Tensor = self.layer(batch.image.flatten(1)).square().mean()
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        assert (batch.row == -1).all()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def trainer(folder: Path, steps: int, **options: object) -> L.Trainer:
    settings: dict[str, object] = {"max_steps": steps, "limit_val_batches": 0, **options}
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **settings,  # type: ignore[arg-type]
    )


# 1797 - 297 - 1100 = 400 training images in batches of 100: four steps an epoch.
def digits(**options: int) -> Digits:
    return Digits(batch_size=100, validation_size=1100, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    model = Recorder()
    trainer(tmp_path_factory.mktemp("whole"), 11, enable_checkpointing=False).fit(model, digits())
    return model.rows


@pytest.mark.filterwarnings("error:.*dataloader is not resumable.*")
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 8, 10])
@pytest.mark.parametrize("validating", [False, True])
def test_a_resumed_run_sees_the_batches_it_would_have_seen(
    tmp_path: Path, whole: list[list[int]], stop: int, validating: bool
) -> None:
    """Within an epoch, at its last batch and just after it; with and without validation in between."""
    validation = {"limit_val_batches": 1, "val_check_interval": 3, "check_val_every_n_epoch": None}
    options: dict[str, object] = dict(validation) if validating else {}
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=stop, save_top_k=-1, filename="{step}")
    trainer(tmp_path, stop, callbacks=[saving], **options).fit(Recorder(), digits())
    resumed = Recorder()
    path = tmp_path / f"step={stop}.ckpt"
    trainer(tmp_path, 11, enable_checkpointing=False, **options).fit(resumed, digits(), ckpt_path=path)
    assert resumed.rows == whole[stop:]


@pytest.mark.parametrize("stop", [4, 6])
def test_a_checkpoint_written_after_the_run_resumes_too(tmp_path: Path, whole: list[list[int]], stop: int) -> None:
    first = trainer(tmp_path, stop, enable_checkpointing=False)
    first.fit(Recorder(), digits())
    first.save_checkpoint(tmp_path / "end.ckpt")
    resumed = Recorder()
    trainer(tmp_path, 11, enable_checkpointing=False).fit(resumed, digits(), ckpt_path=tmp_path / "end.ckpt")
    assert resumed.rows == whole[stop:]


def test_a_checkpoint_of_a_finished_epoch_resumes_with_the_next(tmp_path: Path, whole: list[list[int]]) -> None:
    options: dict[str, object] = {"max_epochs": 1}
    saving = ModelCheckpoint(tmp_path, filename="epoch")
    trainer(tmp_path, -1, callbacks=[saving], **options).fit(Recorder(), digits())
    resumed = Recorder()
    second = trainer(tmp_path, -1, enable_checkpointing=False, max_epochs=2)
    second.fit(resumed, digits(), ckpt_path=tmp_path / "epoch.ckpt")
    assert resumed.rows == whole[4:8]


def test_accumulated_steps_resume_by_batches(tmp_path: Path, whole: list[list[int]]) -> None:
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    trainer(tmp_path, 3, callbacks=[saving], accumulate_grad_batches=2).fit(Recorder(), digits())
    resumed = Recorder()
    second = trainer(tmp_path, 5, enable_checkpointing=False, accumulate_grad_batches=2)
    second.fit(resumed, digits(), ckpt_path=tmp_path / "step=3.ckpt")
    assert resumed.rows == whole[6:10]


def test_worker_processes_change_nothing(tmp_path: Path, whole: list[list[int]]) -> None:
    model = Recorder()
    trainer(tmp_path, 6, enable_checkpointing=False).fit(model, digits(num_workers=1))
    assert model.rows == whole[:6]


def test_overfitting_repeats_the_first_batches(tmp_path: Path, whole: list[list[int]]) -> None:
    model = Recorder()
    trainer(tmp_path, 4, enable_checkpointing=False, overfit_batches=2).fit(model, digits())
    assert model.rows == whole[:2] + whole[:2]


def test_an_epoch_is_a_shuffle_and_epochs_differ(whole: list[list[int]]) -> None:
    first, second = (sorted(chain(*whole[start : start + 4])) for start in (0, 4))
    assert first == second == list(range(400))
    assert whole[:4] != whole[4:8]


def test_outside_a_trainer_the_epoch_is_told(whole: list[list[int]]) -> None:
    data = digits()
    assert [batch.row.tolist() for batch in data.train_dataloader()] == whole[:4]
    data.epoch = 1
    assert [batch.row.tolist() for batch in data.train_dataloader()] == whole[4:8]


def test_another_seed_is_another_order(whole: list[list[int]]) -> None:
    assert next(iter(digits(seed=1).train_dataloader())).row.tolist() != whole[0]


# ---- several processes


def numbered(count: int) -> Images:
    return Images(torch.zeros(count, 1, 1, 2, dtype=torch.uint8), torch.arange(count))


def test_ranks_split_each_global_batch() -> None:
    alone = TrainingStream(numbered(50), batch_size=12, seed=0)
    ranks = [TrainingStream(numbered(50), batch_size=6, seed=0, rank=rank, world_size=2) for rank in range(2)]
    for number in range(2 * len(alone)):
        halves = [rank[number].row.tolist() for rank in ranks]
        assert sorted(chain(*halves)) == sorted(alone[number].row.tolist())


def test_ranks_evaluate_every_image_once() -> None:
    ranks = [EvaluationBatches(numbered(11), batch_size=4, rank=rank, world_size=2) for rank in range(2)]
    labels = [label for rank in ranks for n in range(len(rank)) for label in rank[n].label.tolist()]
    assert sorted(labels) == list(range(11))


def test_too_few_images_for_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"data.batch_size: 8 on 2 processes"):
        TrainingStream(numbered(15), batch_size=8, seed=0, world_size=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_loader_process_outlasts_a_signal_to_the_group(number: signal.Signals) -> None:
    batches = iter(Digits(num_workers=1).train_dataloader())
    assert isinstance(batches, _MultiProcessingDataLoaderIter)
    next(batches)
    (worker,) = batches._workers
    os.kill(worker.pid, number)
    for _ in range(5):
        next(batches)
    assert worker.is_alive()
    batches._shutdown_workers()


def test_loader_processes_end_with_the_one_they_load_for() -> None:
    script = (
        "from arlab.data.digits import Digits\n"
        "batches = iter(Digits(num_workers=1).train_dataloader())\n"
        "next(batches)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0
