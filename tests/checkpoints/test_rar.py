"""RAR's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.norms import LayerNorm, NormedQK
from arlab.backbones.places import LearnedPlaces
from arlab.backbones.rotary import NoRotary
from arlab.backbones.step_modulation import StepModulation
from arlab.backbones.target_places import TargetPlaces
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.rar import RAR
from arlab.checkpoints.sizes import ratio_of
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.random_causal import RandomCausal
from tests.checkpoints.given_tokens import GivenTokens
from tests.checkpoints.laws import SEEDS, dice, round_trip, shaken


def tiny(seed: int, *, square: bool = False) -> tuple[RAR, Generator]:
    rng = dice(seed)
    num_heads, head_width = rng.choice([1, 2, 3]), rng.choice([4, 6])
    width, norm_eps = num_heads * head_width, rng.choice([1e-5, 1e-6])
    height = rng.randint(2, 4)
    grid = (height, height if square else rng.randint(1, 5))
    norm = LayerNorm(eps=norm_eps)
    generator = Generator(
        tokenizer=GivenTokens(grid=grid, codebook_size=rng.randint(3, 20), num_classes=rng.randint(1, 9)),
        ordering=RandomCausal(),
        backbone=Transformer(
            width=width,
            num_layers=rng.randint(1, 3),
            attention=Attention(num_heads=num_heads, qk_norm=NormedQK(norm=norm), qkv_bias=True, out_bias=True),
            feed_forward=MLP(ratio=ratio_of(rng.randint(1, 70), width), activation=Activation.GELU),
            norm=norm,
            rotary=NoRotary(),
            places=[LearnedPlaces(), TargetPlaces()],
            modulation=StepModulation(),
            dropout=0.1,
        ),
        head=DiscreteHead(bias=True),
        ema_decay=0,
    )
    return RAR(rows=0 if square else height, norm_eps=norm_eps), generator


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, square: bool, tmp_path: Path) -> None:
    round_trip(*tiny(seed, square=square), tmp_path)


def test_the_place_of_the_start_is_part_of_it() -> None:
    family, generator = tiny(0)
    shaken(generator, 3)
    names, ours = family.names(generator), generator.state_dict()
    theirs = names.published(ours)
    assert not theirs["pos_embed"][:, 0].any()
    theirs["pos_embed"][:, 0] = 5.0
    again = dict(names.own(theirs))
    torch.testing.assert_close(again["slot_embedding.learned_RD"], ours["slot_embedding.learned_RD"] + 5.0)
    assert torch.equal(again["backbone.places.0.table"], ours["backbone.places.0.table"])


def test_rows_stand_where_they_are_looked_up() -> None:
    """Published: a mask between codes and classes; start, condition, tokens in each table, and spare rows."""
    family, generator = tiny(1)
    shaken(generator, 3)
    ours, num_tokens = generator.state_dict(), generator.layout.num_tokens
    theirs = family.names(generator).published(ours)
    codes = len(ours["head.embedding.weight"])
    assert not theirs["embeddings.weight"][codes].any()
    assert torch.equal(theirs["embeddings.weight"][codes + 1 :], ours["conditioner.embedding.weight"])
    assert theirs["pos_embed"].shape[1] == num_tokens + 1024
    assert torch.equal(theirs["pos_embed"][0, 1], ours["backbone.places.0.table"][num_tokens])
    assert torch.equal(theirs["target_aware_pos_embed"][0, 2 : 2 + num_tokens], ours["backbone.places.1.table"])
    # The start is the first of the slots that are fed in step 0, the condition the second.
    steps = ours["backbone.conditioning.table"]
    assert torch.equal(theirs["timesteps_embeddings"][0, :2], steps[-2:].flip(0))
    assert torch.equal(theirs["timesteps_embeddings"][0, 2 : num_tokens + 1], steps[:-2])
