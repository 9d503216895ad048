"""LlamaGen's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import GatedMLP
from arlab.backbones.norms import RMSNorm
from arlab.backbones.rotary import AxialRotary
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.llamagen import LlamaGen
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.raster import Raster
from tests.checkpoints.given_tokens import GivenTokens
from tests.checkpoints.laws import SEEDS, dice, round_trip


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    num_heads, head_width = rng.choice([1, 2, 3]), rng.choice([4, 8, 12])
    width, grid = num_heads * head_width, [rng.randint(2, 5), rng.randint(2, 5)]
    hidden, rope_base, norm_eps = rng.randint(5, 90), rng.choice([100.0, 10000.0]), rng.choice([1e-5, 1e-6])
    generator = Generator(
        tokenizer=GivenTokens(grid=(grid[0], grid[1]), codebook_size=rng.randint(3, 40), num_classes=rng.randint(1, 9)),
        ordering=Raster(),
        backbone=Transformer(
            width=width,
            num_layers=rng.randint(1, 3),
            attention=Attention(num_heads=num_heads),
            feed_forward=GatedMLP(ratio=hidden / width, multiple_of=1),
            norm=RMSNorm(eps=norm_eps),
            rotary=AxialRotary(base=rope_base),
            dropout=0.1,
        ),
        head=DiscreteHead(),
        ema_decay=0,
    )
    round_trip(LlamaGen(num_heads=num_heads, grid=grid, rope_base=rope_base, norm_eps=norm_eps), generator, tmp_path)
