"""MyHead learns, says what its loss says, and draws: pytest plugins/test_my_head.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from arlab import plugins
from arlab.backbones.attention import Attention
from arlab.backbones.transformer import Transformer
from arlab.data.digits import Digits
from arlab.discovery import named
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.head import Head
from arlab.orderings.raster import Raster
from arlab.rng import BatchRng
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.kl_tokenizer import KLTokenizer

plugins.load(Path(__file__).with_name("my_head.py"))
LABEL = torch.tensor([0, 1, 2, 3])


@pytest.fixture
def generator() -> Generator:
    """A tiny one on 2 x 2 tokens of an untrained tokenizer."""
    torch.manual_seed(0)
    return Generator(
        tokenizer=KLTokenizer(
            facts=Digits().facts,
            autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 1, 1], res_blocks=1),
            token_width=3,
        ),
        ordering=Raster(),
        backbone=Transformer(width=16, num_layers=1, attention=Attention(num_heads=2)),
        head=named(["MyHead"], Head, "head"),
        conditioner=ClassLabel(drop_probability=0.0),
        ema_decay=0.0,
    )


def loss(generator: Generator, tokens: Tensor) -> Tensor:
    return generator.objective.loss(generator, tokens, LABEL, BatchRng(0, len(LABEL)), generator.layout)


def test_it_learns(generator: Generator) -> None:
    tokens = torch.randn(len(LABEL), generator.layout.num_tokens, generator.tokenizer.space.width)
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
    before = loss(generator, tokens).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss(generator, tokens).backward()
        optimizer.step()
    assert loss(generator, tokens).item() < before - 0.1


def test_its_likelihood_is_its_loss(generator: Generator) -> None:
    tokens = torch.randn(len(LABEL), generator.layout.num_tokens, generator.tokenizer.space.width)
    log_prob_BN = generator.eval().log_prob(tokens, LABEL)
    if log_prob_BN is not None:  # a head without an exact likelihood has none
        torch.testing.assert_close(-log_prob_BN.mean(), loss(generator, tokens).detach())


def test_a_draw_is_the_same_in_any_batch(generator: Generator) -> None:
    together = Sampler().sample(generator, LABEL, seeds=range(len(LABEL)))
    alone = Sampler().sample(generator, LABEL[2:3], seeds=[2])
    assert bool(together.tokens.isfinite().all())
    torch.testing.assert_close(together.tokens[2:3], alone.tokens)
