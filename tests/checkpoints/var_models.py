"""Random models of VAR's and FlexVAR's make."""

from __future__ import annotations

import random
from dataclasses import dataclass

from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP
from arlab.backbones.modulation import AdaLN, SharedAdaLN
from arlab.backbones.norms import L2QKNorm, LayerNorm, NoQKNorm
from arlab.backbones.places import LearnedPlaces, LevelPlaces, Places
from arlab.backbones.resized_places import ResizedPlaces
from arlab.backbones.rotary import NoRotary
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.sizes import ratio_of
from arlab.checkpoints.var_scales import scales_of
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.level_inputs import Previous
from arlab.orderings.next_scale import NextScale
from arlab.orderings.scale_schedules import RandomScales
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_parts import AttentionLevels, LatentConvs
from tests.checkpoints.scale_tokens import ScaleTokens

Scales = list[int | list[int]]
SOME_SCALES: list[Scales] = [[1, 2, 3], [2, 3], [1, [1, 2], [3, 5]], [[1, 2], [2, 4], [2, 4], [3, 6]]]


@dataclass(frozen=True)
class Kind:
    """What they come as.

    Attributes:
        normed: whether queries and keys are unit vectors.
        shared: whether blocks share one adaLN.
        norm_eps: of the layer norms.
    """

    normed: bool = True
    shared: bool = False
    norm_eps: float = 1e-6


KINDS = (Kind(), Kind(shared=True), Kind(normed=False, norm_eps=1e-5), Kind(normed=False, shared=True))


def tokens(rng: random.Random, patch_nums: Scales, *, flex: bool) -> ScaleTokens:
    """Some codes on these scales."""
    quantizer = PyramidQuantizer(
        pyramid=ScalePyramid(patch_nums=patch_nums, residual=not flex),
        quantizer=GradientVectorQuantizer(codebook_size=rng.randint(3, 40)),
    )
    width = rng.randint(2, 5)
    quantizer.bind(width, scales_of(patch_nums).finest)
    return ScaleTokens(quantizer=quantizer, width=width, num_classes=rng.randint(1, 9))


def generator(rng: random.Random, tokenizer: Tokenizer, patch_nums: Scales | None, kind: Kind) -> Generator:
    """VAR, or FlexVAR where scales are given, of some size."""
    depth, num_heads = rng.randint(1, 3), rng.randint(1, 4)
    width = num_heads * rng.choice([3, 4, 8])
    places: list[Places] = [LearnedPlaces(), LevelPlaces()]
    ordering = NextScale()
    if patch_nums is not None:
        places = [ResizedPlaces(size=rng.randint(2, 6))]
        ordering = NextScale(patch_nums=patch_nums, level_input=Previous(), schedule=RandomScales())
    return Generator(
        tokenizer=tokenizer,
        ordering=ordering,
        backbone=Transformer(
            width=width,
            num_layers=depth,
            attention=Attention(
                num_heads=num_heads,
                qk_norm=L2QKNorm() if kind.normed else NoQKNorm(factor=0.25),
                qkv_bias=True,
                out_bias=True,
            ),
            feed_forward=MLP(ratio=ratio_of(rng.randint(5, 90), width)),
            norm=LayerNorm(eps=kind.norm_eps, affine=False),
            rotary=NoRotary(),
            places=places,
            modulation=SharedAdaLN() if kind.shared else AdaLN(),
            drop_path=0.1 * depth / 24,
        ),
        head=DiscreteHead(bias=True),
        ema_decay=0,
    )


def heads_to_tell(made: Generator) -> int:
    """How many must be told; 0 where there are scales of queries."""
    attention = made.backbone.attention
    assert isinstance(attention, Attention)
    return 0 if isinstance(attention.qk_norm, L2QKNorm) else attention.num_heads


def whole_tokenizer(
    rng: random.Random, quantizer: PyramidQuantizer, width: int, size: int, levels: int, kernel: int
) -> VQTokenizer:
    """A convolutional tokenizer of square images with so many resolutions around a quantizer."""
    multipliers = [1, *(rng.choice([1, 2]) for _ in range(levels - 1))]
    return VQTokenizer(
        facts=DataFacts("imagenet", 3, (size, size), tuple("abc")),
        autoencoder=VQGANAutoencoder(
            channels=32,
            channel_multipliers=multipliers,
            encoder_blocks=rng.randint(1, 2),
            decoder_blocks=rng.randint(1, 3),
            attention=AttentionLevels(encoder=[levels - 1], decoder=[levels - 1]),
            latent=LatentConvs(z_channels=width, quant_kernel=kernel),
        ),
        quantizer=quantizer,
        token_width=width,
    )


def released(family: GeneratorFamily, made: Generator) -> dict[str, Tensor]:
    """Its tensors as they would be published."""
    return {name: value.detach().clone() for name, value in family.names(made).published(made.state_dict()).items()}
