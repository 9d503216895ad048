"""A number out of range is refused where it is given, in one line that names key, value and range."""

from __future__ import annotations

import math
import re

import pytest

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP, GatedMLP
from arlab.backbones.norms import L2QKNorm, LayerNorm, NoQKNorm, RMSNorm
from arlab.backbones.rotary import AxialRotary
from arlab.backbones.transformer import Transformer
from arlab.data.fashion_mnist import FashionMNIST
from arlab.generators.conditioners import ClassLabel
from arlab.generators.guidance import ConstantGuidance, PowerCosineGuidance
from arlab.heads.discrete import DiscreteHead
from arlab.optimization import AdamW
from arlab.ranges import require
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.losses import Mix
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer

BOUNDS: tuple[tuple[dict[str, float], str, tuple[float, ...], tuple[float, ...]], ...] = (
    ({"at_least": 1}, "at least 1", (1, 10**400), (0, 0.999)),
    ({"above": 0}, "positive", (1, 5e-324), (0, -1.0)),
    ({"above": 1.5}, "above 1.5", (2, 1.6), (1.5,)),
    ({"at_most": 3}, "at most 3", (3, -1e308), (4, 3.1)),
    ({"below": 2}, "below 2", (1.9,), (2,)),
    ({"at_least": 2, "at_most": 2**20}, "from 2 to 1048576", (2, 2**20), (1, 2**20 + 1)),
    ({"at_least": 1e-6, "at_most": 10**6}, "from 1e-06 to 1000000", (1e-6, 1), (0, 1e7)),
    ({"at_least": 0, "below": 1}, "at least 0 and below 1", (0, 0.5), (1, -0.1)),
    ({"above": 0, "at_most": 1}, "positive and at most 1", (0.1, 1), (0, 1.5)),
    ({"above": -1, "below": 1}, "above -1 and below 1", (0,), (-1, 1)),
    ({}, "a finite number", (0, -1e308, 10**400), ()),
)


@pytest.mark.parametrize(("bounds", "told", "good", "bad"), BOUNDS, ids=[told for _, told, *_ in BOUNDS])
def test_bounds_are_kept_and_told(
    bounds: dict[str, float], told: str, good: tuple[float, ...], bad: tuple[float, ...]
) -> None:
    for value in good:
        require("part.key", value, **bounds)
    for value in (*bad, math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=f"^{re.escape(f'part.key: must be {told}, got {value}')}$"):
            require("part.key", value, **bounds)


def tokenizer(token_width: int) -> VQTokenizer:
    return VQTokenizer(facts=FashionMNIST().facts, token_width=token_width)


CASES = (
    (lambda: Attention(num_heads=0), "backbone.attention.num_heads: must be at least 1, got 0"),
    (lambda: MLP(ratio=0.0), "backbone.feed_forward.ratio: must be positive, got 0.0"),
    (lambda: GatedMLP(ratio=-1.0), "backbone.feed_forward.ratio: must be positive, got -1.0"),
    (lambda: GatedMLP(multiple_of=0), "backbone.feed_forward.multiple_of: must be at least 1, got 0"),
    (lambda: RMSNorm(eps=-1.0), "norm.eps: must be at least 0, got -1.0"),
    (lambda: LayerNorm(eps=-1.0), "norm.eps: must be at least 0, got -1.0"),
    (lambda: NoQKNorm(factor=0.0), "qk_norm.factor: must be positive, got 0.0"),
    (lambda: L2QKNorm(init_scale=0.0), "qk_norm.init_scale: must be positive, got 0.0"),
    (lambda: L2QKNorm(max_scale=-2.0), "qk_norm.max_scale: must be positive, got -2.0"),
    (lambda: AxialRotary(base=0.0), "backbone.rotary.base: must be positive, got 0.0"),
    (lambda: DiscreteHead(init_std=-0.1), "head.init_std: must be at least 0, got -0.1"),
    (lambda: ClassLabel(num_slots=-1), "conditioner.num_slots: must be at least 0, got -1"),
    (lambda: ClassLabel(init_std=-1.0), "conditioner.init_std: must be at least 0, got -1.0"),
    (lambda: ConstantGuidance(until_token=-1), "guidance.until_token: must be at least 0, got -1"),
    (lambda: PowerCosineGuidance(power=-1.0), "guidance.power: must be at least 0, got -1.0"),
    (lambda: VectorQuantizer(commitment_weight=-1.0), "quantizer.commitment_weight: must be at least 0, got -1.0"),
    (lambda: ConvAutoencoder(channels=0), "autoencoder.channels: must be at least 1, got 0"),
    (lambda: ConvAutoencoder(res_blocks=-1), "autoencoder.res_blocks: must be from 0 to 1000, got -1"),
    (lambda: ConvAutoencoder(norm_groups=0), "autoencoder.norm_groups: must be at least 1, got 0"),
    (lambda: ConvAutoencoder(res_blocks=1001), "autoencoder.res_blocks: must be from 0 to 1000, got 1001"),
    (lambda: Transformer(num_layers=1001), "backbone.num_layers: must be from 1 to 1000, got 1001"),
    (lambda: Transformer(way_layers=10**9), "backbone.way_layers: must be from 1 to 1000, got 1000000000"),
    (lambda: Transformer(init_std=-1.0), "backbone.init_std: must be at least 0, got -1.0"),
    (lambda: Mix(losses=[]), "reconstruction.losses: at least one is needed, got []"),
    (lambda: AdamW(learning_rate=math.nan), "optimizer.learning_rate: must be positive and at most 1000000, got nan"),
    (lambda: AdamW(weight_decay=math.inf), "optimizer.weight_decay: must be from 0 to 1000000, got inf"),
    (lambda: LayerNorm(eps=math.nan), "norm.eps: must be at least 0, got nan"),
    (lambda: tokenizer(token_width=0), "tokenizer.token_width: must be from 1 to 65536, got 0"),
)


@pytest.mark.parametrize(("build", "message"), CASES, ids=[message for _, message in CASES])
def test_a_number_out_of_range_is_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()
