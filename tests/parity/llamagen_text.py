"""LlamaGen (arXiv 2406.06525), text-conditional: the setting of classes, with Captions for a conditioner."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from arlab.backbones.rotary import AxialRotary
from arlab.checkpoints.llamagen import LlamaGen
from arlab.generators.feeding import mask_for
from arlab.generators.generator import Generator
from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.step import Kind, Slots
from arlab.rng import BatchRng
from tests.captions import write_prompts
from tests.goldens import golden
from tests.parity.llama import IndexTokenizer, gradients_of, greedy_variants, logits_of, per_token_loss, released
from tests.parity.measured import Measured, Meter

METER = Meter("LlamaGen T2I")
FAMILY = LlamaGen(num_heads=2, grid=[8, 8])
IO = "llamagenA_gpt_t2i_io"
GUIDANCE = 3.0
# As with classes: the published count leaves out the first token.
INTERVAL = 30
UNTIL_TOKEN = INTERVAL + 1


def recorded() -> dict[str, Tensor]:
    """The recording; its labels are the numbers of its captions."""
    io = golden(IO)
    label = torch.arange(len(io["caption"]))
    return io | {"labels": label, "gen_labels": label}


def published() -> Generator:
    io, weights = golden(IO), golden("llamagenA_gpt_t2i_state")
    prompts = [f"caption {number}" for number in range(len(io["caption"]))]
    with tempfile.TemporaryDirectory() as folder:
        file = write_prompts(Path(folder) / "captions.safetensors", prompts, io["caption"], io["emb_mask"].bool())
        return released(LlamaGen(num_heads=2, grid=[8, 8], captions=file), weights)


def teacher_forced() -> Iterator[Measured]:
    io, generator = recorded(), published()
    logits, _ = logits_of(generator, io["tokens"], io["labels"])
    yield METER.close("logits", logits, io["tf_logits"], atol=2e-4, rtol=1e-4)
    loss = per_token_loss(generator, io["tokens"], io["labels"])
    yield METER.close("loss", loss.mean(), io["tf_loss"], rtol=1e-5)
    valid = io["valid"].float()[:, None].expand_as(loss)
    yield METER.close("loss of valid rows", (loss * valid).sum() / valid.sum(), io["tf_loss_valid"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    yield from gradients_of(METER, FAMILY, published(), recorded())


def masks() -> Iterator[Measured]:
    io, generator = recorded(), published()
    prefix = generator.conditioner(io["labels"]).prefix
    step = generator.ordering.teacher(generator.layout, prefix, BatchRng(0, len(io["labels"])), torch.device("cpu"))
    allowed = mask_for(generator.ordering, generator.layout, step.feed, None).allowed
    assert allowed is not None
    yield METER.exact("mask", allowed, io["train_mask"])


def rope_table() -> Iterator[Measured]:
    layout, num_slots = IndexTokenizer().layout, golden(IO)["caption"].shape[1]
    token = torch.arange(layout.num_tokens)
    rows = Slots.cat([condition_slots(Prefix(num_slots)), slots(Kind.TOKEN, token, token, 1)])
    rotation = AxialRotary().rotation(rows, layout, 32, 1)
    table = torch.stack((rotation.cos, rotation.sin), dim=-1)
    yield METER.close("rotary table", table, golden(IO)["rope_cache"], atol=1e-6)


def greedy_tokens() -> Iterator[Measured]:
    yield from greedy_variants(METER, published(), recorded(), until_token=UNTIL_TOKEN, guidance_scale=GUIDANCE)


QUANTITIES = (teacher_forced, gradients, masks, rope_table, greedy_tokens)
