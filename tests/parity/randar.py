"""RandAR (arXiv 2412.01827): LlamaGen in a drawn order, each token asked for by an instruction.

The fixture ordering says who is asked when; the instruction itself, one shared vector rotated by the place it asks
for, is a table of places here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from arlab.backbones.places import Places, PlacesModule
from arlab.backbones.rotary import AxialRotary
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance
from arlab.orderings.ordering import Prefix
from arlab.orderings.step import Kind, Layout, Progress, Slots, Step
from arlab.rng import Rng
from tests.goldens import golden
from tests.paradigms.orderings import InstructedRandom, Steps
from tests.parity.llama import gradients_of, greedy, llama_generator, llama_names, logits_of, per_token_loss
from tests.parity.measured import Measured, Meter

METER = Meter("RandAR")
IO = "randarA_io"
NUM_STEPS = 20
NAMES = llama_names(2) | {"pos_instruct_embeddings": "backbone.places.0.table"}


class RotatedInstruction(Places):
    """A LEARNED slot carries one shared vector, seen as heads and rotated by the slot's place.

    Args:
        num_heads: H.
    """

    def __init__(self, *, num_heads: int) -> None:
        self.num_heads = num_heads

    def build(self, width: int, layout: Layout, num_condition: int) -> PlacesModule:
        return _Rotated(width, self.num_heads)


class _Rotated(PlacesModule):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.table = nn.Parameter(torch.zeros(1, width))

    def forward(self, rows: Slots, layout: Layout) -> Tensor:
        heads_H1E = self.table[0].unflatten(-1, (self.num_heads, 1, -1))
        rotation = AxialRotary().rotation(rows, layout, heads_H1E.shape[-1], 0)
        rotated_BSD = rotation(heads_H1E.expand(-1, len(rows), -1)).transpose(-3, -2).flatten(-2)
        return rotated_BSD * (rows.kind == Kind.LEARNED)[:, None]


class GivenOrder(Rng):
    """A source whose permutations are known in advance."""

    def __init__(self, order_BN: Tensor) -> None:
        self.batch = len(order_BN)
        self.order_BN = order_BN

    def uniform(self, *shape: int) -> Tensor:
        raise NotImplementedError

    def normal(self, *shape: int) -> Tensor:
        raise NotImplementedError

    def permutation(self, length: int) -> Tensor:
        return self.order_BN


class RecordedOrder(InstructedRandom):
    """The fixture in a recorded order, with the given number of tokens in each step."""

    def __init__(self, *, order_BN: Tensor, counts: tuple[int, ...]) -> None:
        super().__init__(counts=counts)
        self.order_BN = order_BN

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        return super().steps(layout, prefix, GivenOrder(self.order_BN))

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return super().training(layout, prefix, GivenOrder(self.order_BN))


class KnownFractionGuidance(Guidance):
    """From 1 with nothing known towards ``end`` with everything known."""

    def __init__(self, *, end: float) -> None:
        self.end = end

    def scale(self, progress: Progress) -> float:
        return 1 + (self.end - 1) * progress.known / progress.tokens

    @property
    def active(self) -> bool:
        return True


def counts(num_tokens: int, num_steps: int) -> tuple[int, ...]:
    """One token, then up to ⌊N (1 - cos(π/2 · (s + 1) / S)) + 1⌋ in all after step s >= 1, at least one a step."""
    found = [1]
    while sum(found) < num_tokens:
        target = int(num_tokens * (1 - math.cos(math.pi / 2 * (len(found) + 1) / num_steps)) + 1)
        found.append(max(1, min(target, num_tokens) - sum(found)))
    return tuple(found)


def published(counts: tuple[int, ...] = (1,) * 64) -> Generator:
    weights = golden("randarA_state")
    ordering = RecordedOrder(order_BN=golden(IO)["token_order"], counts=counts)
    generator = llama_generator(ordering, places=[RotatedInstruction(num_heads=4)])
    ours = {new: weights[old] for old, new in NAMES.items()}
    # The fixture's own learned vector has no part in it.
    ours["slot_embedding.learned_RD"] = torch.zeros(1, 64)
    generator.load_state_dict(ours)
    generator.slot_embedding.requires_grad_(False)
    return generator


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    logits, token = logits_of(generator, io["tokens"], io["labels"])
    yield METER.exact("order", token, io["token_order"])
    yield METER.close("logits", logits, io["tf_logits"], atol=2e-4, rtol=1e-4)
    loss = per_token_loss(generator, io["tokens"], io["labels"]).mean()
    yield METER.close("loss", loss, io["tf_loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    yield from gradients_of(METER, published(), NAMES, golden(IO))


def greedy_tokens() -> Iterator[Measured]:
    io = golden(IO)
    for name, schedule in (("seq", (1,) * 64), ("par", counts(64, NUM_STEPS))):
        generator = published(schedule)
        for key, guidance in (("nocfg", ConstantGuidance()), ("cfg", KnownFractionGuidance(end=4.0))):
            for use_cache in (True, False):
                tokens = greedy(generator, io["gen_labels"], guidance, use_cache=use_cache)
                suffix = "" if use_cache else ", no cache"
                yield METER.exact(f"greedy_{key}_{name}{suffix}", tokens, io[f"greedy_{key}_{name}"])


QUANTITIES = (teacher_forced, gradients, greedy_tokens)
