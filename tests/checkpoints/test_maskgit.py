"""The released weights of TiTok's MaskGIT."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.long_skips import LongSkips
from arlab.backbones.norms import LayerNorm
from arlab.checkpoints.maskgit import MaskGIT
from arlab.checkpoints.sizes import ratio_of
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.mask_ratios import ArccosRatio
from arlab.orderings.masked import Masked
from arlab.orderings.set_sizes import ArccosSizes
from tests.checkpoints.given_tokens import GivenTokens
from tests.checkpoints.laws import SEEDS, dice, round_trip, shaken


def tiny(seed: int) -> tuple[MaskGIT, Generator]:
    rng = dice(seed)
    num_heads, rows = rng.choice([1, 2, 3]), rng.randint(1, 4)
    width, square = num_heads * rng.choice([4, 5]), rng.random() < 0.5
    num_steps, temperature, norm_eps = rng.randint(1, 9), rng.choice([0.0, 2.8]), rng.choice([1e-5, 1e-6])
    grid = (rows, rows if square else rng.randint(1, 5))
    generator = Generator(
        tokenizer=GivenTokens(grid=grid, codebook_size=rng.randint(3, 20), num_classes=rng.randint(1, 9)),
        ordering=Masked(
            set_sizes=ArccosSizes(num_steps=num_steps),
            choice=ConfidenceChoice(temperature=temperature, by_logit=True),
            mask_ratio=ArccosRatio(),
        ),
        backbone=LongSkips(
            width=width,
            num_skips=rng.randint(1, 3),
            attention=Attention(num_heads=num_heads, qkv_bias=rng.random() < 0.5, out_bias=True),
            feed_forward=MLP(ratio=ratio_of(rng.randint(1, 70), width), activation=Activation.GELU),
            norm=LayerNorm(eps=norm_eps),
        ),
        head=DiscreteHead(bias=True, label_smoothing=0.1),
        ema_decay=0,
    )
    family = MaskGIT(
        num_heads=num_heads,
        rows=0 if square else rows,
        num_steps=num_steps,
        temperature=temperature,
        norm_eps=norm_eps,
    )
    return family, generator


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    round_trip(*tiny(seed), tmp_path)


def test_one_table_holds_codes_mask_and_classes() -> None:
    """The condition's place is published in front of the tokens'."""
    family, generator = tiny(0)
    shaken(generator, 3)
    ours = generator.state_dict()
    theirs = family.names(generator).published(ours)
    mask = theirs["embeddings.weight"][len(ours["head.embedding.weight"])]
    assert torch.equal(mask, ours["slot_embedding.learned_RD"][0])
    assert torch.equal(theirs["pos_embed"][0, 0], ours["backbone.places.0.table"][-1])
    assert torch.equal(theirs["pos_embed"][0, 1:], ours["backbone.places.0.table"][:-1])
