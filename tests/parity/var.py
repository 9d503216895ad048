"""VAR (arXiv 2404.02905): next-scale prediction over the residual pyramid of a multi-scale tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.checkpoints.importing import Found, fill
from arlab.checkpoints.var import VAR
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance, LinearGuidance
from arlab.generators.initialisation import Initialisation
from arlab.generators.sampler import Sampler
from arlab.heads.head import Predict, Sampling
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Step
from tests.checkpoints.scale_tokens import ScaleTokens
from tests.goldens import golden
from tests.parity.llama import logits_of, per_token_loss
from tests.parity.llamagen import implied_distribution
from tests.parity.measured import Measured, Meter
from tests.parity.var_tokenizer import SCALES, quantizer

METER = Meter("VAR")
IO = "varA_io"
FAMILY = VAR(patch_nums=[*SCALES])
FOUND = Found(Path("golden"), FAMILY, golden("varA_var_fp16"))
CFG = 1.5
NULL = 10

# The order of the recorded gradient norms, as the published module lists its parameters; FlexVAR has no lvl_embed.
_BLOCK = (
    *("attn.scale_mul_1H11", "attn.q_bias", "attn.v_bias", "attn.mat_qkv.weight", "attn.proj.weight", "attn.proj.bias"),
    *("ffn.fc1.weight", "ffn.fc1.bias", "ffn.fc2.weight", "ffn.fc2.bias", "ada_lin.1.weight", "ada_lin.1.bias"),
)
PARAMETERS = (
    *("pos_start", "pos_1LC", "word_embed.weight", "word_embed.bias", "class_emb.weight", "lvl_embed.weight"),
    *(f"blocks.{layer}.{name}" for layer in range(2) for name in _BLOCK),
    *("head_nm.ada_lin.1.weight", "head_nm.ada_lin.1.bias", "head.weight", "head.bias"),
)


def published() -> Generator:
    """The golden's model with its weights."""
    generator = fresh()
    fill(generator, FAMILY.names(generator), FOUND)
    return generator.eval()


def fresh(initialisation: Initialisation | None = None) -> Generator:
    """The golden's model with weights of our own."""
    generator = FAMILY.generator(FOUND.shapes, ScaleTokens(quantizer=quantizer(), width=16))
    if initialisation is not None:
        initialisation.apply(generator)
    return generator


def by_published_name(held: dict[str, Tensor]) -> dict[str, Tensor]:
    """What our parameters hold (weights, gradients) under the published names and shapes."""
    found = FAMILY.names(fresh()).published(held)
    # It is added to the first place's vector, so what belongs to this belongs to both.
    return found | {"pos_start": found["pos_1LC"][:, :1]}


def inputs() -> Iterator[Measured]:
    """What the slots of the scales after the first carry, before it is projected."""
    io, generator = golden(IO), published()
    tokenizer = generator.tokenizer.module
    for level in range(4):
        yield METER.close(f"f̂ {level}", tokenizer.canvas(io["gt_BL"], level + 1), io[f"fhat_{level}"], atol=5e-5)
    source = torch.arange(1, 30)
    fed = generator.ordering.compute(io["gt_BL"], source, generator.layout, tokenizer)
    yield METER.close("inputs", fed, io["x_BLCv_wo_first_l"], atol=5e-5)


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    logits, token = logits_of(generator, io["gt_BL"], io["labels"])
    yield METER.exact("order", token, torch.arange(30))
    yield METER.close("logits", logits, io["logits_tf"], atol=2e-5)
    free, _ = logits_of(generator, io["gt_BL"], torch.full_like(io["labels"], NULL))
    yield METER.close("logits, no class", free, io["logits_tf_uncond"], atol=2e-5)
    loss = per_token_loss(generator, io["gt_BL"], io["labels"]).mean()
    yield METER.close("loss", loss[None], io["tf_loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    per_token_loss(generator, io["gt_BL"], io["labels"]).mean().backward()
    ours = by_published_name({name: p.grad for name, p in generator.named_parameters() if p.grad is not None})
    for key in sorted(key for key in io if key.startswith("grad::")):
        yield METER.scaled(f"∂ loss / ∂ {key[6:]}", ours[key[6:]], io[key], 1e-4)
    norms = torch.stack([ours[name].double().norm() for name in PARAMETERS])
    yield METER.close("gradient norms", norms, io["grad_norms"].double(), atol=1e-7, rtol=1e-4)


def greedy_tokens() -> Iterator[Measured]:
    io, generator = golden(IO), published()
    canvas = generator.tokenizer.module.canvas
    for use_cache in (True, False):
        suffix = "" if use_cache else ", no cache"
        tokens, logits = _greedy(generator, io["labels"], LinearGuidance(start=1, end=1 + CFG), use_cache)
        for level, shape in enumerate(generator.layout.shapes):
            name = f"{level}{suffix}"
            here = tokens[:, generator.layout.tokens(level)]
            yield METER.exact(f"greedy tokens {name}", here, io[f"greedy_idx_{level}"])
            yield METER.close(f"guided logits {name}", logits[level], io[f"greedy_logits_cfg_{level}"], atol=5e-5)
            map_BCHW = canvas(tokens, level + 1)
            yield METER.close(f"greedy f̂ {name}", map_BCHW, io[f"greedy_fhat_{level}"], atol=5e-5)
            if level:
                area = F.adaptive_avg_pool2d(canvas(tokens, level), shape)
                yield METER.close(f"next map {name}", area, io[f"greedy_next_map_{level - 1}"], atol=5e-5)
        free, _ = _greedy(generator, io["labels"], ConstantGuidance(), use_cache)
        yield METER.exact(f"greedy tokens, cfg 0{suffix}", free, io["greedy_cfg0_idx"])


def _greedy(generator: Generator, labels: Tensor, guidance: Guidance, use_cache: bool) -> tuple[Tensor, list[Tensor]]:
    """Greedy tokens (B, N) and the guided logits of each step."""
    seen: list[Tensor] = []

    def draw(predict: Predict, step: Step) -> Drawn:
        seen.append(generator.head.logits(predict(), guidance.scale(step.progress)))
        return Drawn(seen[-1].argmax(-1))

    sampler = Sampler(guidance=guidance, use_cache=use_cache)
    *_, last = sampler.decode(generator, labels, seeds=range(len(labels)), draw=draw)
    return last.tokens, seen


def filtered() -> Iterator[Measured]:
    """Top-k 50, then top-p 0.9."""
    io = golden(IO)
    got = implied_distribution(io["filter_in"].flatten(0, 1), Sampling(1.0, 50, 0.9), points=4000)
    yield METER.close("filtered probabilities", got.view(2, 8, -1), io["filter_out_probs"], atol=1e-6)


QUANTITIES = (inputs, teacher_forced, gradients, greedy_tokens, filtered)
