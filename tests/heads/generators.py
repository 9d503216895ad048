"""Generators around a head that is tested."""

from __future__ import annotations

import torch

from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.head import Head
from arlab.orderings.ordering import Ordering
from arlab.tokenizers.tokenizer import Tokenizer
from tests.tiny import GrayLevels, tiny_backbone


def head_generator(
    head: Head,
    ordering: Ordering,
    *,
    grid: tuple[int, int] = (2, 2),
    codebook_size: int = 4,
    tokenizer: Tokenizer | None = None,
) -> Generator:
    """In evaluation mode, with weights far enough from zero that every part matters but the head's own."""
    torch.manual_seed(0)
    return Generator(
        tokenizer=GrayLevels(grid=grid, codebook_size=codebook_size) if tokenizer is None else tokenizer,
        ordering=ordering,
        backbone=tiny_backbone(),
        head=head,
        conditioner=ClassLabel(num_slots=1, init_std=0.5),
        ema_decay=0.0,
    ).eval()
