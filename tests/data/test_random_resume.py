"""A run resumed in the middle of an epoch sees the very pixels that it would have seen, random ones too."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from arlab.data.data import Batch
from arlab.data.folder import ImageFolder
from arlab.data.transforms import RandomCrop, RandomFlip
from tests.data.pictures import fill


class Recorder(L.LightningModule):
    """Remembers the pixels it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen: list[Tensor] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen.append(batch.image.clone())
        loss: Tensor = self.layer(batch.image.mean().reshape(1, 1)).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def run(root: Path, folder: Path, steps: int, start: Path | None = None, **options: object) -> list[Tensor]:
    settings: dict[str, object] = {"image_size": (12, 8), "batch_size": 4, "validation_fraction": 0.2, **options}
    data = ImageFolder(root=str(root), transforms=[RandomCrop(min_scale=0.3), RandomFlip()], **settings)  # type: ignore[arg-type]
    trainer = L.Trainer(
        max_steps=steps, limit_val_batches=0, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder,
    )  # fmt: skip
    model = Recorder()
    trainer.fit(model, data, ckpt_path=start)
    trainer.save_checkpoint(folder / f"{steps}.ckpt")
    return model.seen


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_pixels_are_the_same(tmp_path: Path, in_memory: bool, workers: int) -> None:
    root = fill(tmp_path / "images", {"cat": 12, "dog": 9})
    whole = run(root, tmp_path, 9)
    options = {"in_memory": in_memory, "num_workers": workers}
    begun = run(root, tmp_path, 5, **options)
    resumed = run(root, tmp_path, 9, tmp_path / "5.ckpt", **options)
    assert len(begun) + len(resumed) == len(whole)
    assert all(torch.equal(one, other) for one, other in zip([*begun, *resumed], whole, strict=True))
    assert len({image.numpy().tobytes() for batch in whole for image in batch}) == 36
