"""RAR (arXiv 2411.00776): RandomCausal, DiscreteHead, and a Transformer with targets told and steps modulated."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from arlab.checkpoints.rar import RAR
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, PowerCosineGuidance
from arlab.orderings.annealing import AlwaysDrawn
from arlab.orderings.ordering import Prefix
from arlab.orderings.random_causal import RandomCausal
from arlab.orderings.step import Layout, Step
from arlab.rng import Rng
from tests.goldens import golden
from tests.parity.given_order import GivenOrder
from tests.parity.llama import greedy, logits_of, norm_of, per_token_loss, released
from tests.parity.measured import Measured, Meter

METER = Meter("RAR")
IO = "rarA_io"
CODES = 64
FAMILY = RAR()


class RecordedOrder(RandomCausal):
    """Trained in a recorded order, decoded row by row."""

    def __init__(self, *, order_BN: Tensor) -> None:
        super().__init__(annealing=AlwaysDrawn())
        self.order_BN = order_BN

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return super().training(layout, prefix, GivenOrder(self.order_BN), trained)


def published() -> Generator:
    generator = released(FAMILY, golden("rarA_state"))
    generator.ordering = RecordedOrder(order_BN=golden(IO)["orders"])
    return generator


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    labels = io["condition_ids"] - CODES - 1
    logits, token = logits_of(generator, io["tokens"], labels)
    yield METER.exact("targets", io["tokens"].gather(1, token), io["shuffled_targets"])
    yield METER.close("logits", logits, io["tf_logits_all"][:, :-1], atol=2e-4, rtol=1e-4)
    loss = per_token_loss(generator, io["tokens"], labels).mean()
    yield METER.close("loss", loss, io["tf_loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    per_token_loss(generator, io["tokens"], io["condition_ids"] - CODES - 1).mean().backward()
    ours = {name: weight.grad for name, weight in generator.named_parameters() if weight.grad is not None}
    theirs = FAMILY.names(generator).published(ours)
    for key in sorted(key for key in io if key.startswith("grad.")):
        yield METER.scaled(f"∂ loss / ∂ {key[5:]}", theirs[key[5:]], io[key], 1e-3)
    # The published start has a place of its own beside its vector: the same gradient twice.
    theirs["pos_embed"][:, :1] = theirs["cls_token"]
    yield METER.close("gradient norm", norm_of(theirs.values()), io["grad_norm"], rtol=1e-4)


def greedy_tokens() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    labels = io["labels_raw"]
    for key, guidance in (
        ("greedy_nocfg", ConstantGuidance()),
        ("greedy_cfgconst", PowerCosineGuidance(guidance_scale=6.0, power=0.0)),
        ("greedy_cfgpow", PowerCosineGuidance(guidance_scale=6.0, power=2.0)),
    ):
        for use_cache in (True, False):
            tokens = greedy(generator, labels, guidance, use_cache=use_cache)
            yield METER.exact(f"{key}{'' if use_cache else ', no cache'}", tokens, io[key])


QUANTITIES = (teacher_forced, gradients, greedy_tokens)
