"""LlamaGen (arXiv 2406.06525), class-conditional: a setting of Raster, Transformer and DiscreteHead."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from arlab.backbones.rotary import AxialRotary
from arlab.checkpoints.llamagen import LlamaGen
from arlab.generators.generator import Generator
from arlab.heads.discrete import draw_from_logits
from arlab.heads.head import Sampling
from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.step import Kind, Slots
from tests.goldens import golden
from tests.parity.llama import IndexTokenizer, gradients_of, greedy_variants, logits_of, per_token_loss, released
from tests.parity.measured import Measured, Meter

METER = Meter("LlamaGen")
FAMILY = LlamaGen(num_heads=4, grid=[8, 8])
IO = "llamagenA_gpt_io"

# The published loop counts steps after the first token: in step i of it, i + 1 tokens are known, and guidance goes off
# once i exceeds the interval. Guidance therefore lasts while known <= interval + 1.
INTERVAL = 20
UNTIL_TOKEN = INTERVAL + 1


def published() -> Generator:
    return released(FAMILY, golden("llamagenA_gpt_state"))


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    logits, _ = logits_of(generator, io["tokens"], io["labels"])
    yield METER.close("logits", logits, io["tf_logits"], atol=2e-4, rtol=1e-4)
    loss = per_token_loss(generator, io["tokens"], io["labels"])
    yield METER.close("loss", loss.mean(), io["tf_loss"], rtol=1e-5)
    valid = io["valid"].float()[:, None].expand_as(loss)
    yield METER.close("loss of valid rows", (loss * valid).sum() / valid.sum(), io["tf_loss_valid"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    yield from gradients_of(METER, FAMILY, published(), golden(IO))


def rope_table() -> Iterator[Measured]:
    layout = IndexTokenizer().layout
    token = torch.arange(layout.num_tokens)
    rows = Slots.cat([condition_slots(Prefix(1)), slots(Kind.TOKEN, token, token, 1)])
    rotation = AxialRotary().rotation(rows, layout, 16, 1)
    table = torch.stack((rotation.cos, rotation.sin), dim=-1)
    yield METER.close("rotary table", table, golden(IO)["rope_cache"], atol=1e-6)


def greedy_tokens() -> Iterator[Measured]:
    yield from greedy_variants(METER, published(), golden(IO), until_token=UNTIL_TOKEN)


def filtered() -> Iterator[Measured]:
    """Temperature, top-k and top-p: the distribution that a fine grid of uniform numbers draws from."""
    io = golden(IO)
    top_k = int((io["filter_probs_3"] > 0).sum(-1).max())
    settings = (Sampling(), Sampling(0.7, 5), Sampling(1.3, 0, 0.8), Sampling(0.9, 20, 0.95))
    assert top_k <= settings[3].top_k
    for number, sampling in enumerate(settings):
        got = implied_distribution(io["filter_logits"], sampling, points=20000)
        yield METER.close(f"filtered probabilities {number}", got, io[f"filter_probs_{number}"], atol=2e-4, rtol=1e-4)


def implied_distribution(logits_BV: torch.Tensor, sampling: Sampling, points: int) -> torch.Tensor:
    """The probability that the head reports for each token it draws; tokens rarer than 1 / points may be missed."""
    probabilities = torch.zeros_like(logits_BV)
    uniform_1P = ((torch.arange(points) + 0.5) / points)[None]
    for row, logits_V in enumerate(logits_BV):
        drawn = draw_from_logits(logits_V.expand(1, points, -1), sampling, uniform_1P)
        probabilities[row].scatter_(0, drawn.tokens[0], drawn.log_prob[0].exp())
    return probabilities


QUANTITIES = (teacher_forced, gradients, rope_table, greedy_tokens, filtered)
