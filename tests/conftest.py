"""Every test starts from the same state (default dtype, seeds, one thread); a tiny generator and its run."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from arlab.backbones.attention import Attention
from arlab.backbones.transformer import Transformer
from arlab.data.facts import DataFacts
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.raster import Raster
from arlab.runs import checkpoint as saving
from arlab.tokenizers.pixel import PixelTokenizer


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    random.seed(0)
    np.random.seed(0)
    # torch.manual_seed also writes down the call stack for every kind of device that is not there: half a millisecond.
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_generator() -> Generator:
    """Raster over the twelve pixels of a 4 x 3 gray image, eight levels, three classes."""
    facts = DataFacts("tiny", 1, (4, 3), ("Shoe", "ankle boot", "bag"))
    return Generator(
        tokenizer=PixelTokenizer(facts=facts, num_levels=8),
        ordering=Raster(),
        backbone=Transformer(width=16, num_layers=1, attention=Attention(num_heads=2), init_std=0.5),
        head=DiscreteHead(zero_init=False, init_std=0.5),
        conditioner=ClassLabel(init_std=1.0),
    ).eval()


@pytest.fixture
def save_run() -> Callable[..., Path]:
    """Writes a model's checkpoint the way a run folder holds it: ``save_run(model, run, name)`` gives back the run."""

    def save(model: L.LightningModule, run: Path, name: str = "last.ckpt") -> Path:
        checkpoint: dict[str, Any] = {"state_dict": model.state_dict()}
        model.on_save_checkpoint(checkpoint)
        if saving.KEY not in checkpoint:
            checkpoint[saving.KEY] = saving.header(model, None)
        path = run / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(checkpoint, path)
        return run

    return save
