"""PAR (arXiv 2412.15119): a setting of RegionParallel and LlamaGen's backbone."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from arlab.backbones.rotary import AxialRotary
from arlab.checkpoints.par import PAR
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance
from arlab.orderings.ordering import Prefix
from arlab.orderings.step import Kind
from arlab.rng import BatchRng
from tests.goldens import golden
from tests.parity.llama import gradients_of, greedy, logits_of, per_token_loss, released
from tests.parity.measured import Measured, Meter

METER = Meter("PAR")
FAMILY = PAR(num_heads=4, grid=[8, 8])
IO = "parA_io"


def published() -> Generator:
    return released(FAMILY, golden("parA_state"))


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    logits, token = logits_of(generator, io["tokens_raster"], io["labels"])
    yield METER.exact("order", token, io["order"])
    yield METER.close("logits", logits, io["tf_logits"], atol=2e-4, rtol=1e-4)
    loss = per_token_loss(generator, io["tokens_raster"], io["labels"]).mean()
    yield METER.close("loss", loss, io["tf_loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    yield from gradients_of(METER, FAMILY, published(), golden(IO), "tokens_raster")


def who_sees_whom() -> Iterator[Measured]:
    """The rule and the rotation, on the rows fed: the published last group predicts nothing, and is not fed here."""
    io, generator = golden(IO), published()
    fed = generator.ordering.training(generator.layout, Prefix(1), BatchRng(0, 1)).feed
    mask, table = io["group_mask"][: len(fed), : len(fed)], io["rope_cache"][: len(fed)]
    yield METER.exact("mask", generator.ordering.see(fed, fed), mask)
    rotation = AxialRotary().rotation(fed, generator.layout, 16, 1)
    yield METER.close("rotary table", torch.stack((rotation.cos, rotation.sin), dim=-1), table, atol=1e-6)
    special = (fed.kind == Kind.LEARNED).nonzero()[:, 0]
    yield METER.exact("special tokens", special, torch.tensor([5, 6, 7]))


def greedy_tokens() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    for key, guidance in (("nocfg", ConstantGuidance()), ("cfg", ConstantGuidance(guidance_scale=1.75))):
        for use_cache in (True, False):
            tokens = greedy(generator, io["gen_labels"], guidance, use_cache=use_cache)[:, io["order"]]
            name = f"greedy_{key}_parorder"
            yield METER.exact(f"{name}{'' if use_cache else ', no cache'}", tokens, io[name])


QUANTITIES = (teacher_forced, gradients, who_sees_whom, greedy_tokens)
