"""RAR (arXiv 2411.00776): RandomCausal, DiscreteHead, and a Transformer with targets told and steps modulated."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.norms import LayerNorm, NormedQK
from arlab.backbones.places import LearnedPlaces
from arlab.backbones.rotary import NoRotary
from arlab.backbones.step_modulation import StepModulation
from arlab.backbones.target_places import TargetPlaces
from arlab.backbones.transformer import Transformer
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, PowerCosineGuidance
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.annealing import AlwaysDrawn
from arlab.orderings.ordering import Prefix
from arlab.orderings.random_causal import RandomCausal
from arlab.orderings.step import Layout, Step
from arlab.rng import Rng
from tests.goldens import golden
from tests.parity.given_order import GivenOrder
from tests.parity.llama import IndexTokenizer, grad_norm, greedy, logits_of, per_token_loss
from tests.parity.measured import Measured, Meter

METER = Meter("RAR")
IO, STATE = "rarA_io", "rarA_state"
CODES, CLASSES, TOKENS = 64, 10, 64
# The learned start and the condition stand in front of the tokens.
AHEAD = 2
INSIDE = {
    "norm1": "attention_norm",
    "norm2": "feed_forward_norm",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "attn.q_norm": "attention.qk_norm.q_norm",
    "attn.k_norm": "attention.qk_norm.k_norm",
    "mlp.fc1": "feed_forward.fc1",
    "mlp.fc2": "feed_forward.fc2",
}


class RecordedOrder(RandomCausal):
    """Trained in a recorded order, decoded row by row."""

    def __init__(self, *, order_BN: Tensor) -> None:
        super().__init__(annealing=AlwaysDrawn())
        self.order_BN = order_BN

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return super().training(layout, prefix, GivenOrder(self.order_BN), trained)


def published() -> Generator:
    backbone = Transformer(
        width=64,
        num_layers=2,
        attention=Attention(num_heads=4, qk_norm=NormedQK(norm=LayerNorm()), qkv_bias=True, out_bias=True),
        feed_forward=MLP(activation=Activation.GELU),
        norm=LayerNorm(),
        rotary=NoRotary(),
        places=[LearnedPlaces(), TargetPlaces()],
        modulation=StepModulation(),
    )
    ordering, head = RecordedOrder(order_BN=golden(IO)["orders"]), DiscreteHead(bias=True)
    generator = Generator(tokenizer=IndexTokenizer(), ordering=ordering, backbone=backbone, head=head).eval()
    generator.load_state_dict(ours(golden(STATE)))
    # The published norm in front of the head has no weights.
    generator.backbone.norms.requires_grad_(False)
    return generator


def ours(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published weights, or gradients with respect to them, under our names."""
    place, target, when = (state[name][0] for name in ("pos_embed", "target_aware_pos_embed", "timesteps_embeddings"))
    table, last = state["embeddings.weight"], state["adaln_before_head.adaLN_modulation.1.weight"]
    weights = {
        "head.embedding.weight": table[:CODES],
        # One row is left out: the mask of another model.
        "conditioner.embedding.weight": table[CODES + 1 :],
        # The start stands nowhere here, so that its place is part of it.
        "slot_embedding.learned_RD": (state["cls_token"][0, 0] + place[0])[None],
        "backbone.places.0.table": torch.cat((place[AHEAD : AHEAD + TOKENS], place[1:AHEAD])),
        "backbone.places.1.table": target[AHEAD : AHEAD + TOKENS],
        # Later steps first, then the condition and the start.
        "backbone.conditioning.table": torch.cat((when[AHEAD : TOKENS + 1], when[:AHEAD].flip(0))),
        "backbone.conditioning.inner.final.weight": last,
        "backbone.conditioning.inner.final.bias": state["adaln_before_head.adaLN_modulation.1.bias"],
        "backbone.norms.0.weight": torch.ones(64),
        "backbone.norms.0.bias": torch.zeros(64),
        "head.outputs.0.weight": state["lm_head.weight"],
        "head.outputs.0.bias": state["lm_head.bias"],
    }
    for layer in range(2):
        for part in ("weight", "bias"):
            for old, new in INSIDE.items():
                weights[f"backbone.blocks.{layer}.{new}.{part}"] = state[f"blocks.{layer}.{old}.{part}"]
            six = state[f"blocks.{layer}.adaLN_modulation.1.{part}"]
            weights[f"backbone.conditioning.inner.blocks.{layer}.{part}"] = reordered(six)
    return weights


def reordered(six: Tensor) -> Tensor:
    """From (shift, scale, gate) of each branch to gates, scales, shifts."""
    shift1, scale1, gate1, shift2, scale2, gate2 = six.chunk(6)
    return torch.cat((gate1, gate2, scale1, scale2, shift1, shift2))


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
    got = {name: parameter.grad for name, parameter in generator.named_parameters() if parameter.grad is not None}
    six = io["grad.blocks.0.adaLN_modulation.1.weight"]
    when, target = io["grad.timesteps_embeddings"][0], io["grad.target_aware_pos_embed"][0]
    expected = {
        "backbone.conditioning.inner.blocks.0.weight": reordered(six),
        "backbone.blocks.1.attention.qk_norm.q_norm.weight": io["grad.blocks.1.attn.q_norm.weight"],
        "slot_embedding.learned_RD": io["grad.cls_token"][0],
        "backbone.places.1.table": target[AHEAD : AHEAD + TOKENS],
        "backbone.conditioning.table": torch.cat((when[AHEAD : TOKENS + 1], when[:AHEAD].flip(0))),
    }
    for name, gradient in expected.items():
        yield METER.scaled(f"∂ loss / ∂ {name}", got[name], gradient, 1e-3)
    # The published start has a place of its own beside its vector: the same gradient twice.
    twice = got["slot_embedding.learned_RD"].square().sum()
    yield METER.close("gradient norm", (grad_norm(generator) ** 2 + twice).sqrt(), io["grad_norm"], rtol=1e-4)


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
