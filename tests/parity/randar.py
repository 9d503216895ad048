"""RandAR (arXiv 2412.01827): a setting of RandomInstructed, InstructionPlaces and LlamaGen's backbone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.backbones.instruction_places import InstructionPlaces
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, ShareGuidance
from arlab.orderings.ordering import Prefix
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.set_sizes import CosineSizes, LinearSizes, SetSizes
from arlab.orderings.step import Layout, Step
from arlab.rng import Rng
from tests.conformance.test_laws import Steps
from tests.goldens import golden
from tests.parity.given_order import GivenOrder
from tests.parity.llama import gradients_of, greedy, llama_generator, llama_names, logits_of, per_token_loss
from tests.parity.measured import Measured, Meter

METER = Meter("RandAR")
IO = "randarA_io"
NUM_STEPS = 20
NAMES = llama_names(2) | {"pos_instruct_embeddings": "backbone.places.0.table"}


class RecordedOrder(RandomInstructed):
    """In a recorded order."""

    def __init__(self, *, order_BN: Tensor, set_sizes: SetSizes) -> None:
        super().__init__(set_sizes=set_sizes)
        self.order_BN = order_BN

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        return super().steps(layout, prefix, GivenOrder(self.order_BN))

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return super().training(layout, prefix, GivenOrder(self.order_BN))


def published(set_sizes: SetSizes | None = None) -> Generator:
    weights = golden("randarA_state")
    sizes = LinearSizes(num_steps=64) if set_sizes is None else set_sizes
    ordering = RecordedOrder(order_BN=golden(IO)["token_order"], set_sizes=sizes)
    generator = llama_generator(ordering, places=[InstructionPlaces(num_heads=4)])
    ours = {new: weights[old] for old, new in NAMES.items()}
    # The ordering's own learned vector, which does not turn, has no part in it.
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
    for name, sizes in (("seq", LinearSizes(num_steps=64)), ("par", CosineSizes(num_steps=NUM_STEPS))):
        generator = published(sizes)
        for key, guidance in (("nocfg", ConstantGuidance()), ("cfg", ShareGuidance(start=1.0, end=4.0))):
            for use_cache in (True, False):
                tokens = greedy(generator, io["gen_labels"], guidance, use_cache=use_cache)
                suffix = "" if use_cache else ", no cache"
                yield METER.exact(f"greedy_{key}_{name}{suffix}", tokens, io[f"greedy_{key}_{name}"])


QUANTITIES = (teacher_forced, gradients, greedy_tokens)
