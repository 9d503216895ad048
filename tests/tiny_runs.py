"""A tiny generator and runs of it, as the commands and ``arlab.load`` meet them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from arlab.backbones.attention import Attention
from arlab.backbones.transformer import Transformer
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.raster import Raster
from arlab.tokenizers.pixel import PixelTokenizer

TINY_FACTS = DataFacts(source="tiny", channels=1, image_size=(4, 3), class_names=("Shoe", "ankle boot", "bag"))


def tiny_generator() -> Generator:
    """An untrained generator of 4 x 3 images in three classes, always the same."""
    torch.manual_seed(0)
    return Generator(
        tokenizer=PixelTokenizer(facts=TINY_FACTS, num_levels=8),
        ordering=Raster(),
        backbone=Transformer(width=16, num_layers=1, attention=Attention(num_heads=2), init_std=0.5),
        head=DiscreteHead(zero_init=False, init_std=0.5),
    ).eval()


def save_run(model: Any, folder: str | Path, name: str = "last.ckpt") -> Path:
    """Write a checkpoint into a run folder, as a Trainer would; gives the folder."""
    checkpoint: dict[str, Any] = {"state_dict": model.state_dict()}
    model.on_save_checkpoint(checkpoint)
    path = Path(folder) / "checkpoints" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return Path(folder)
