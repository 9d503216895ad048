"""Every ordering and head that do not refuse each other train, sample, are saved and loaded, and resume exactly.

By default each ordering with one head of each family, and each head with three orderings; all pairs in ``make slow``.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch.utils.data import DataLoader

import arlab
from arlab.conformance.pairs import Tried
from arlab.data.data import Batch
from arlab.generators.generator import Generator
from arlab.trained import Trained
from tests.pairs.tiny_pairs import WORKING, batch, first, heads, named, orderings, tiny_pair

FAMILIES = ("DiscreteHead", "DiffusionHead", "FlowHead", "GaussianMixtureHead")
_EACH_ORDERING = [first(ordering, head) for ordering in orderings() for head in heads() if head.__name__ in FAMILIES]


def _spread(head: type) -> list[Tried]:
    """Three of the cells of a head, of different orderings."""
    own = {cell.ordering: cell for cell in reversed(WORKING) if cell.head is head}
    cells = sorted(own.values(), key=named)
    return [cells[0], cells[len(cells) // 2], cells[-1]]


COVERING = sorted(
    {cell for cell in _EACH_ORDERING if cell is not None} | {c for h in heads() for c in _spread(h)}, key=named
)
OTHERS = [cell for cell in WORKING if cell not in COVERING]


class Steps(Checkpoint):
    """The loss of each step, and a checkpoint after it; as such it is called when weights have been averaged."""

    def __init__(self, folder: Path) -> None:
        self.losses: list[float] = []
        self.folder = folder

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.losses.append(float(outputs["loss"]))
        trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def loader(batches: int = 2) -> DataLoader[Batch]:
    """The same batch, so that a run resumes with the right one."""
    return DataLoader([batch()] * batches, batch_size=None)


def trained(generator: Generator, folder: Path, ckpt_path: Path | None = None) -> tuple[L.Trainer, list[float]]:
    """Up to two steps; the checkpoints are 1.ckpt and 2.ckpt."""
    steps = Steps(folder)
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        max_steps=2,
        callbacks=[steps],
    )
    trainer.fit(generator.train(), loader(), ckpt_path=ckpt_path, weights_only=True)
    return trainer, steps.losses


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "cell",
    [*COVERING, *(pytest.param(cell, marks=pytest.mark.slow) for cell in OTHERS)],
    ids=lambda cell: named(cell),
)
def test_a_pair_trains_samples_is_loaded_and_resumes(cell: Tried, tmp_path: Path) -> None:
    generator = tiny_pair(cell)
    before = copy.deepcopy(generator.state_dict())
    trainer, losses = trained(generator, tmp_path / "straight")
    assert len(losses) == 2
    assert torch.tensor(losses).isfinite().all()
    assert any(not torch.equal(before[name], value) for name, value in generator.state_dict().items())

    (figures,) = trainer.validate(generator, loader(1), verbose=False)
    assert "val/loss" in figures
    assert torch.tensor(list(figures.values())).isfinite().all()

    loaded = arlab.load(tmp_path / "straight" / "2.ckpt")
    own, again = (
        each.sample(classes=[0, 2], num_images=3, guidance_scale=2.0, device="cpu")
        for each in (Trained(generator), loaded)
    )
    assert own.images.shape == (3, 1, 4, 4)
    assert own.images.isfinite().all()
    assert torch.equal(own.tokens, again.tokens)
    assert torch.equal(own.images, again.images)

    # Other initial weights, so that what is not restored shows.
    _, rest = trained(tiny_pair(cell, seed=1), tmp_path / "resumed", tmp_path / "straight" / "1.ckpt")
    assert rest == losses[1:]
    one, other = (torch.load(tmp_path / name / "2.ckpt", weights_only=True) for name in ("straight", "resumed"))
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, other[key][name]) for name, value in one[key].items()), key


def test_every_ordering_and_every_head_is_in_a_pair() -> None:
    assert {cell.ordering for cell in COVERING} == set(orderings())
    assert {cell.head for cell in COVERING} == set(heads())
