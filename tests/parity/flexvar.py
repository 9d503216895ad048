"""FlexVAR (arXiv 2502.20313): next-scale prediction of whole levels, on schedules drawn while training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from arlab.backbones.resized_places import ResizedPlaces
from arlab.checkpoints.flexvar import FlexVAR
from arlab.checkpoints.flexvar_vq import FlexVARVQ
from arlab.checkpoints.importing import Found, fill
from arlab.checkpoints.shapes import Shapes
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance, LinearGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.discrete import DiscreteHead
from arlab.heads.head import Predict
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Layout, Step
from tests.checkpoints.scale_tokens import ScaleTokens
from tests.goldens import golden
from tests.parity.llama import logits_of, per_token_loss
from tests.parity.measured import Measured, Meter
from tests.parity.var import PARAMETERS

METER = Meter("FlexVAR")
IO, MODEL = "flexvarA_io", "flexvarA_model_fp16"
CFG = 2.5
NULL = 10
OWN, TRAINED, SAMPLED = [1, 2, 3, 4, 6, 8], [1, 2, 4, 5, 8], [1, 2, 3, 5, 6, 8]


def tokenizer() -> ScaleTokens:
    """Its quantizer; the autoencoder around it, LlamaGen's, is not part of these goldens."""
    codes = golden(MODEL)["vae.quantize.embedding.weight"]
    quantizer = FlexVARVQ(patch_nums=[*OWN]).quantizer(Shapes({"quantize.embedding.weight": tuple(codes.shape)}))
    quantizer.bind(16, (8, 8))
    quantizer.load_state_dict(quantizer.state_dict() | {"codebooks.0.codebook": codes})
    return ScaleTokens(quantizer=quantizer.eval(), width=16)


def published(patch_nums: list[int]) -> Generator:
    """The golden's model, predicting these scales."""
    family = FlexVAR(patch_nums=[*patch_nums])
    found = Found(Path("golden"), family, golden(MODEL))
    generator = family.generator(found.shapes, tokenizer())
    fill(generator, family.names(generator), found)
    return generator.eval()


def places_start() -> Iterator[Measured]:
    """A fresh map of places alternates sines of rows with cosines of columns."""
    module = ResizedPlaces(size=32).build(8, Layout(((4, 4),)), 1)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    frequencies = 10000.0 ** (-2 * torch.arange(4) / 8)
    wanted = torch.stack([wave for f in frequencies for wave in ((y * f).sin(), (x * f).cos())])
    yield METER.close("initial places", module.get_parameter("map").detach(), wanted, atol=1e-5)


def inputs() -> Iterator[Measured]:
    """The tokens of the scales drawn, and what the slots after the first carry before it is projected."""
    io, generator = golden(IO), published(TRAINED)
    made = generator.tokenizer.encode(io["latent_h"])
    yield METER.exact("tokens", made, io["gt_BL"])
    fed = generator.ordering.compute(made, torch.arange(1, 110), generator.layout, generator.tokenizer)
    yield METER.close("inputs", fed, io["teacher_quant_BLC"], atol=5e-5)


def teacher_forced() -> Iterator[Measured]:
    io, generator = golden(IO), published(TRAINED)
    logits, token = logits_of(generator, io["gt_BL"], io["labels"])
    yield METER.exact("order", token, torch.arange(110))
    yield METER.close("logits", logits, io["logits_tf"], atol=2e-5)
    free, _ = logits_of(generator, io["gt_BL"], torch.full_like(io["labels"], NULL))
    yield METER.close("logits, no class", free, io["logits_tf_uncond"], atol=2e-5)
    loss = per_token_loss(generator, io["gt_BL"], io["labels"]).mean()
    yield METER.close("loss", loss[None], io["tf_loss"], rtol=1e-5)


def gradients() -> Iterator[Measured]:
    io, generator = golden(IO), published(TRAINED)
    per_token_loss(generator, io["gt_BL"], io["labels"]).mean().backward()
    held = {name: p.grad for name, p in generator.named_parameters() if p.grad is not None}
    ours = FlexVAR().names(generator).published(held)
    mean = ours["pos_1LC"].mean((-2, -1))
    yield METER.scaled("∂ loss / ∂ pos_1LC, mean", mean, io["grad::pos_1LC_mean_over_hw"], 1e-4)
    norms = torch.stack([ours[name].double().norm() for name in PARAMETERS if name in ours])
    yield METER.close("gradient norms", norms, io["grad_norms"].double(), atol=1e-7, rtol=1e-4)


def greedy_tokens() -> Iterator[Measured]:
    """Scales that were not trained on, by the model of others (its own would be ``OWN``)."""
    io, generator = golden(IO), published(OWN)
    layout = Layout(tuple((side, side) for side in SAMPLED))
    ways: tuple[tuple[str, Guidance], ...] = (
        ("varcfg", LinearGuidance(start=1, end=1 + CFG)),
        ("llamagencfg", ConstantGuidance(guidance_scale=CFG)),
    )
    for key, guidance in ways:
        for use_cache in (True, False):
            suffix = key if use_cache else f"{key}, no cache"
            tokens, logits = _greedy(generator, io["labels"], guidance, layout, use_cache)
            for level in range(len(SAMPLED)):
                here = tokens[:, layout.tokens(level)]
                yield METER.exact(f"greedy tokens {level} {suffix}", here, io[f"greedy_{key}_idx_{level}"])
                yield METER.close(
                    f"guided logits {level} {suffix}", logits[level], io[f"greedy_{key}_logits_{level}"], atol=5e-5
                )


def _greedy(
    generator: Generator, labels: Tensor, guidance: Guidance, layout: Layout, use_cache: bool
) -> tuple[Tensor, list[Tensor]]:
    """Greedy tokens (B, N) and the guided logits of each step."""
    seen: list[Tensor] = []

    def draw(predict: Predict, step: Step) -> Drawn:
        assert step.progress is not None
        assert isinstance(generator.head, DiscreteHead)
        seen.append(generator.head.logits(predict(), guidance.scale(step.progress)))
        return Drawn(seen[-1].argmax(-1))

    sampler = Sampler(guidance=guidance, use_cache=use_cache)
    *_, last = sampler.decode(generator, labels, seeds=range(len(labels)), draw=draw, layout=layout)
    return last.tokens, seen


QUANTITIES = (places_start, inputs, teacher_forced, gradients, greedy_tokens)
