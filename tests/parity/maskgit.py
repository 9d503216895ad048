"""MaskGIT as TiTok's code has it (arXiv 2406.07550): a U-ViT whose masks are filled in, the most confident first.

Published training draws a mask ratio per image and counts unmasked tokens a tenth; ``Masked`` draws one per batch and
learns masked tokens only, so the loss is put together here, from the head's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.checkpoints.maskgit import MaskGIT
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, LinearGuidance, PowerCosineGuidance
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.step import Read, Step
from arlab.rng import BatchRng, Rng
from tests.goldens import golden
from tests.parity.llama import grad_norm, greedy, released
from tests.parity.measured import Measured, Meter

METER = Meter("MaskGIT")
IO = "maskgitA_io"
NUM_STEPS, SCALE, POWER = 6, 3.0, 3.0
FAMILY = MaskGIT(num_heads=4, num_steps=NUM_STEPS, temperature=0.0)


class GivenMask(Rng):
    """Draws of which a mask (N,) comes out, for ``ArccosRatio``."""

    def __init__(self, mask_N: Tensor) -> None:
        self.batch = 1
        self.mask_N = mask_N

    def uniform(self, *shape: int) -> Tensor:
        # Half a token less than are masked: the number is rounded up.
        ratio = (int(self.mask_N.sum()) - 0.5) / len(self.mask_N)
        return torch.tensor([math.cos(math.pi / 2 * ratio)])

    def normal(self, *shape: int) -> Tensor:
        raise NotImplementedError

    def permutation(self, length: int) -> Tensor:
        return self.mask_N.int().argsort(stable=True)[None]


def published() -> Generator:
    return released(FAMILY, golden("maskgitA_state"))


def passes(generator: Generator) -> Iterator[tuple[int, Step]]:
    """Of each recorded image the pass with the recorded mask, read at its known tokens as well, sorted by place."""
    for image, mask_N in enumerate(golden(IO)["mask"]):
        step = generator.ordering.training(
            generator.layout, generator.conditioner(torch.tensor([0])).prefix, GivenMask(mask_N)
        )
        slot = step.feed.at.reshape(-1).argsort()[1:]
        yield image, dataclasses.replace(step, read=Read.own(torch.arange(64), slot))


def masked_forward() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    assert isinstance(generator.head, DiscreteHead)
    for key in ("logits_cond", "logits_uncond"):
        logits = []
        for image, step in passes(generator):
            label = io["labels"][image : image + 1]
            condition = generator.conditioner(label if key == "logits_cond" else generator.conditioner.null(label))
            predict = generator.teacher_predict(step, io["tokens"][image : image + 1], condition)
            logits.append(generator.head.logits(predict()))
        yield METER.close(key, torch.cat(logits), io[key], atol=2e-4, rtol=1e-4)


def training() -> Iterator[Measured]:
    """Masked tokens count once, others a tenth; labels are smoothed."""
    io, generator = golden(IO), published()
    generator.head.train()
    losses = []
    for image, step in passes(generator):
        tokens, condition = io["tokens"][image : image + 1], generator.conditioner(io["labels"][image : image + 1])
        predict = generator.teacher_predict(step, tokens, condition)
        losses.append(generator.head.loss(predict, step, tokens, BatchRng(0, 1)))
    weight = torch.where(io["mask"], 1.0, 0.1)
    loss = (torch.cat(losses) * weight).sum() / weight.sum()
    yield METER.close("loss", loss, io["loss"], rtol=1e-5)
    loss.backward()
    yield METER.close("gradient norm", grad_norm(generator), io["grad_norm"], rtol=1e-4)


def decoding() -> Iterator[Measured]:
    """Six steps, the most confident tokens kept; the published scales are s - 1, but for the power-cosine's.

    Published annealing of the softmax changes nothing where the most likely token is taken. The scales and the power
    were not recorded: of those tried 3 and 2 alone fit; of the power-cosine's many do, the defaults among them.
    """
    io, generator = golden(IO), published()
    for key, guidance in (
        ("const", ConstantGuidance(guidance_scale=1 + SCALE)),
        ("const_anneal", ConstantGuidance(guidance_scale=3.0)),
        ("linear", LinearGuidance(start=1.0, end=1 + SCALE * (NUM_STEPS - 1) / NUM_STEPS)),
        ("powcos", PowerCosineGuidance(guidance_scale=SCALE, power=POWER, by_step=True)),
    ):
        yield METER.exact(f"tokens, {key}", greedy(generator, io["labels"], guidance), io[f"gen_temp0_{key}"])


QUANTITIES = (masked_forward, training, decoding)
