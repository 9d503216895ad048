"""NAR (arXiv 2503.10696): LlamaGen with a second way out, for the neighbour below."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from arlab.checkpoints.nar import NAR
from arlab.generators.generator import Generator
from arlab.orderings.ordering import Prefix
from arlab.orderings.step import Kind
from arlab.rng import BatchRng
from tests.goldens import golden
from tests.parity.llama import gradients_of, greedy_variants, logits_of, per_token_loss, released
from tests.parity.measured import Measured, Meter

METER = Meter("NAR")
FAMILY = NAR(num_heads=4, grid=[8, 8], way_layers=1)
IO = "narA_gpt_io"
# The published loop compares the interval with the number of known tokens itself, not with that of later steps as
# LlamaGen's does; so here it is the interval, without the + 1.
UNTIL_TOKEN = 20


def published() -> Generator:
    return released(FAMILY, golden("narA_gpt_state"))


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    logits, token = logits_of(generator, io["tokens"], io["labels"])
    yield METER.close("logits", logits[:, token.argsort()], io["tf_logits"], atol=2e-4, rtol=1e-4)
    loss = per_token_loss(generator, io["tokens"], io["labels"]).mean()
    yield METER.close("loss", loss, io["tf_loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    yield from gradients_of(METER, FAMILY, published(), golden(IO))


def who_sees_whom() -> Iterator[Measured]:
    """The rule, on the rows fed (the last token predicts nothing and is not fed), against the published table."""
    generator = published()
    fed = generator.ordering.training(generator.layout, Prefix(1), BatchRng(0, 1)).feed
    row = torch.where(fed.kind == Kind.COND, 0, fed.source + 1)
    yield METER.exact("mask", generator.ordering.see(fed, fed), golden(IO)["train_mask"][row][:, row])


def greedy_tokens() -> Iterator[Measured]:
    yield from greedy_variants(METER, published(), golden(IO), until_token=UNTIL_TOKEN)


QUANTITIES = (teacher_forced, gradients, who_sees_whom, greedy_tokens)
