"""FlexVAR (arXiv 2502.20313): next-scale prediction of whole levels, on schedules drawn while training."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP
from arlab.backbones.modulation import AdaLN
from arlab.backbones.norms import L2QKNorm, LayerNorm
from arlab.backbones.resized_places import ResizedPlaces
from arlab.backbones.rotary import NoRotary
from arlab.backbones.transformer import Transformer
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance, Guidance, LinearGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.discrete import DiscreteHead
from arlab.heads.head import Predict
from arlab.orderings.level_inputs import Previous
from arlab.orderings.next_scale import NextScale
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Layout, Step
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokenizers.quantizers.similarity import Cosine
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace
from tests.goldens import golden
from tests.parity.llama import CLASSES, logits_of, per_token_loss
from tests.parity.measured import Measured, Meter
from tests.parity.var_names import BLOCKS, loaded_blocks, published_blocks

METER = Meter("FlexVAR")
IO, MODEL = "flexvarA_io", "flexvarA_model_fp16"
CFG = 2.5
NULL = len(CLASSES)
OWN, TRAINED, SAMPLED = [1, 2, 3, 4, 6, 8], [1, 2, 4, 5, 8], [1, 2, 3, 5, 6, 8]
PARAMETERS = (
    *("pos_start", "pos_1LC", "word_embed.weight", "word_embed.bias", "class_emb.weight"),
    *BLOCKS,
    *("head_nm.ada_lin.1.weight", "head_nm.ada_lin.1.bias", "head.weight", "head.bias"),
)


class LatentTokenizer(Tokenizer):
    """FlexVAR's quantizer without the autoencoder around it, which is LlamaGen's."""

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.quantizer = quantizer
        self.layout, self.space = quantizer.layout, TokenSpace(16, 256)
        self.facts = DataFacts("golden", 3, (128, 128), CLASSES)

    def at(self, layout: Layout) -> Tokenizer:
        return self if layout == self.layout else LatentTokenizer(self.quantizer.at(layout))

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Of latents: the images are not part of these goldens."""
        tokens: Tensor = self.quantizer(image_BCHW).tokens
        return tokens

    def decode(self, tokens: Tensor) -> Tensor:
        return self.canvas(tokens, len(self.layout.shapes))[:, :3]

    def vectors(self, tokens: Tensor) -> Tensor:
        return self.quantizer.vectors(tokens)

    def canvas(self, tokens: Tensor, level: int) -> Tensor:
        return self.quantizer.assemble(self.vectors(tokens), level)


def tokenizer() -> LatentTokenizer:
    codes = GradientVectorQuantizer(codebook_size=256, similarity=Cosine(), start_from_data=False)
    scales: list[int | list[int]] = [*OWN]
    quantizer = PyramidQuantizer(pyramid=ScalePyramid(patch_nums=scales, residual=False), quantizer=codes)
    quantizer.bind(16, (8, 8))
    codes.codebook.data.copy_(golden(MODEL)["vae.quantize.embedding.weight"])
    return LatentTokenizer(quantizer)


def published(patch_nums: list[int]) -> Generator:
    """The golden's model, predicting these scales."""
    backbone = Transformer(
        width=128,
        num_layers=2,
        attention=Attention(num_heads=2, qk_norm=L2QKNorm(), qkv_bias=True, out_bias=True),
        feed_forward=MLP(),
        norm=LayerNorm(affine=False),
        rotary=NoRotary(),
        places=[ResizedPlaces(size=32)],
        modulation=AdaLN(),
    )
    ordering = NextScale(patch_nums=[*patch_nums], level_input=Previous())
    head = DiscreteHead(bias=True)
    generator = Generator(tokenizer=tokenizer(), ordering=ordering, backbone=backbone, head=head)
    generator.load_state_dict(_weights(golden(MODEL)))
    return generator.eval()


def _weights(old: dict[str, Tensor]) -> dict[str, Tensor]:
    return loaded_blocks(old) | {
        "conditioner.embedding.weight": old["class_emb.weight"],
        "slot_embedding.computed.weight": old["word_embed.weight"],
        "slot_embedding.computed.bias": old["word_embed.bias"],
        "backbone.places.0.map": old["pos_1LC"][0],
        "backbone.places.0.table": old["pos_start"][0],
        "head.outputs.0.weight": old["head.weight"],
        "head.outputs.0.bias": old["head.bias"],
        "backbone.conditioning.final.weight": old["head_nm.ada_lin.1.weight"],
        "backbone.conditioning.final.bias": old["head_nm.ada_lin.1.bias"],
    }


def _by_published_name(held: dict[str, Tensor]) -> dict[str, Tensor]:
    return published_blocks(held) | {
        "pos_start": held["backbone.places.0.table"][None],
        "pos_1LC": held["backbone.places.0.map"][None],
        "word_embed.weight": held["slot_embedding.computed.weight"],
        "word_embed.bias": held["slot_embedding.computed.bias"],
        "class_emb.weight": held["conditioner.embedding.weight"],
        "head_nm.ada_lin.1.weight": held["backbone.conditioning.final.weight"],
        "head_nm.ada_lin.1.bias": held["backbone.conditioning.final.bias"],
        "head.weight": held["head.outputs.0.weight"],
        "head.bias": held["head.outputs.0.bias"],
    }


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
    ours = _by_published_name({name: p.grad for name, p in generator.named_parameters() if p.grad is not None})
    mean = ours["pos_1LC"].mean((-2, -1))
    yield METER.scaled("∂ loss / ∂ pos_1LC, mean", mean, io["grad::pos_1LC_mean_over_hw"], 1e-4)
    norms = torch.stack([ours[name].double().norm() for name in PARAMETERS])
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
