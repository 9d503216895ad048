"""RandAR (arXiv 2412.01827): a setting of RandomInstructed, InstructionPlaces and LlamaGen's backbone."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from arlab.checkpoints.randar import RandAR
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, ShareGuidance
from arlab.orderings.ordering import Prefix
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.set_sizes import SetSizes
from arlab.orderings.step import Layout, Step
from arlab.rng import Rng
from tests.conformance.test_laws import Steps
from tests.goldens import golden
from tests.parity.given_order import GivenOrder
from tests.parity.llama import gradients_of, greedy, logits_of, per_token_loss, released
from tests.parity.measured import Measured, Meter

METER = Meter("RandAR")
IO = "randarA_io"
NUM_TOKENS, NUM_STEPS = 64, 20


class RecordedOrder(RandomInstructed):
    """In a recorded order."""

    def __init__(self, *, order_BN: Tensor, set_sizes: SetSizes) -> None:
        super().__init__(set_sizes=set_sizes)
        self.order_BN = order_BN

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        return super().steps(layout, prefix, GivenOrder(self.order_BN))

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return super().training(layout, prefix, GivenOrder(self.order_BN))


def published(num_steps: int = NUM_TOKENS) -> Generator:
    """By default one token a step."""
    generator = released(RandAR(num_heads=4, grid=[8, 8], num_steps=num_steps), golden("randarA_state"))
    assert isinstance(generator.ordering, RandomInstructed)
    generator.ordering = RecordedOrder(order_BN=golden(IO)["token_order"], set_sizes=generator.ordering.set_sizes)
    return generator


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    logits, token = logits_of(generator, io["tokens"], io["labels"])
    yield METER.exact("order", token, io["token_order"])
    yield METER.close("logits", logits, io["tf_logits"], atol=2e-4, rtol=1e-4)
    loss = per_token_loss(generator, io["tokens"], io["labels"]).mean()
    yield METER.close("loss", loss, io["tf_loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    yield from gradients_of(METER, RandAR(), published(), golden(IO))


def greedy_tokens() -> Iterator[Measured]:
    io = golden(IO)
    for name, num_steps in (("seq", NUM_TOKENS), ("par", NUM_STEPS)):
        generator = published(num_steps)
        for key, guidance in (("nocfg", ConstantGuidance()), ("cfg", ShareGuidance(start=1.0, end=4.0))):
            for use_cache in (True, False):
                tokens = greedy(generator, io["gen_labels"], guidance, use_cache=use_cache)
                suffix = "" if use_cache else ", no cache"
                yield METER.exact(f"greedy_{key}_{name}{suffix}", tokens, io[f"greedy_{key}_{name}"])


QUANTITIES = (teacher_forced, gradients, greedy_tokens)
