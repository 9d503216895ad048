"""Runs of untrained generators of the digits, as ``arlab evaluate`` and ``arlab compare`` meet them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from arlab.backbones.attention import Attention
from arlab.backbones.transformer import Transformer
from arlab.data.digits import Digits
from arlab.data.facts import DataFacts
from arlab.data.memory import Parts
from arlab.data.stream import Images
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.raster import Raster
from arlab.runs.checkpoint import KEY, read
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.tiny_runs import save_run


class _PlainDigits(Digits):
    """The digits without their classes."""

    @property
    def facts(self) -> DataFacts:
        return dataclasses.replace(super().facts, class_names=())

    def read(self) -> Parts:
        held = super().read()
        train, validation, test = (
            Images(part.pixel_NCHW, torch.zeros_like(part.label_N), part.levels)
            for part in (held.train, held.validation, held.test)
        )
        return Parts(train, validation, test)


def plain_digits() -> Digits:
    """The digits without their classes."""
    return _PlainDigits()


def digit_tokenizer(data: Any) -> VQTokenizer:
    """An untrained tokenizer of 16 tokens, always the same."""
    torch.manual_seed(0)
    return VQTokenizer(
        facts=data.facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4),
        quantizer=VectorQuantizer(codebook_size=16),
        token_width=4,
    )


def save_with_data(model: Any, folder: str | Path, data: Any) -> str:
    """Write a checkpoint as a Trainer would that had this data module; gives the folder."""
    path = save_run(model, folder) / "checkpoints" / "last.ckpt"
    checkpoint = read(path)
    checkpoint[KEY]["data"] = None if data is None else data.spec()
    checkpoint["global_step"] = 7
    torch.save(checkpoint, path)
    return str(folder)


def save_generator(folder: str | Path, data: Any, of: Any = None) -> str:
    """An untrained generator in raster order, saved as if it had been trained on these data; gives the folder."""
    tokenizer = digit_tokenizer(data if of is None else of)
    torch.manual_seed(1)
    generator = Generator(
        tokenizer=tokenizer,
        ordering=Raster(),
        backbone=Transformer(width=16, num_layers=1, attention=Attention(num_heads=2), init_std=0.5),
        head=DiscreteHead(zero_init=False, init_std=0.5),
    ).eval()
    return save_with_data(generator, folder, data)
