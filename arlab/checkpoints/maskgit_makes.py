"""The two networks of TiTok's generators (arXiv 2406.07550): a U-ViT (S-128) and a BERT (L-32 and B-64).

Letters: D width, S places (the condition's and the tokens').
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.backbone import Backbone
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.long_skips import LongSkips
from arlab.backbones.norms import LayerNorm
from arlab.backbones.post_norm import PostNorm
from arlab.checkpoints.names import BOTH, Rule, Tensors, joined, permuted, renamed
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import ratio_of

_SKIPPING = {
    "norm1": "attention_norm",
    "norm2": "feed_forward_norm",
    "attn.proj": "attention.out",
    "mlp.fc1": "feed_forward.fc1",
    "mlp.fc2": "feed_forward.fc2",
}
_BERT = {
    "attention.output.dense": "attention.out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "feed_forward.fc1",
    "output.dense": "feed_forward.fc2",
    "output.LayerNorm": "feed_forward_norm",
}
_MIDDLE = "mid_block"
_WORDS = "model.embeddings"
_LAYER = "model.encoder.layer"
_PLACES = "backbone.places.0.table"
_DROPOUT = 0.1


class Make(ABC):
    """One of them.

    Attributes:
        marks: published names that it has and the other has not.
        table: the published table of codes, mask and classes.
        places: that of places, the condition's first, and along which of its axes they lie.
        output: the linear map to logits.
    """

    marks: tuple[str, ...]
    table: str
    places: tuple[str, int]
    output: str

    @abstractmethod
    def backbone(self, shapes: Shapes, num_heads: int, norm_eps: float) -> Backbone:
        """The network, of an ``norm_eps`` of its own where 0 is given."""

    @abstractmethod
    def rules(self, backbone: Backbone, places: Tensor) -> Iterator[Rule]:
        """Its names but for table and output; our place i is their place ``places[i]``."""


class UViT(Make):
    """Of TiTok S-128."""

    marks = ("in_blocks.0.attn.qkv.weight", f"{_MIDDLE}.attn.qkv.weight", "out_blocks.0.skip_linear.weight")
    table, places, output = "embeddings.weight", ("pos_embed", 1), "lm_head"

    def backbone(self, shapes: Shapes, num_heads: int, norm_eps: float) -> Backbone:
        hidden, width = (shapes.size(f"{_MIDDLE}.mlp.fc1.weight", axis) for axis in (0, 1))
        qkv_bias = f"{_MIDDLE}.attn.qkv.bias" in shapes
        return LongSkips(
            width=width,
            num_skips=shapes.count("in_blocks.{}.mlp.fc1.weight"),
            attention=Attention(num_heads=num_heads, qkv_bias=qkv_bias, out_bias=True),
            feed_forward=MLP(ratio=ratio_of(hidden, width), activation=Activation.GELU),
            norm=LayerNorm(eps=norm_eps or 1e-5),
        )

    def rules(self, backbone: Backbone, places: Tensor) -> Iterator[Rule]:
        assert isinstance(backbone, LongSkips)
        yield permuted(self.places[0], _PLACES, places)
        yield from renamed({"norm": "backbone.norms.0"}, BOTH)
        blocks = {_MIDDLE: "middle_blocks.0"}
        for layer in range(backbone.num_skips):
            blocks |= {f"in_blocks.{layer}": f"in_blocks.{layer}", f"out_blocks.{layer}": f"out_blocks.{layer}"}
            yield from renamed({f"out_blocks.{layer}.skip_linear": f"backbone.skips.{layer}"}, BOTH)
        for theirs, ours in blocks.items():
            yield from renamed({f"{theirs}.{old}": f"backbone.{ours}.{new}" for old, new in _SKIPPING.items()}, BOTH)
            qkv = BOTH if backbone.attention.qkv_bias else ("weight",)
            yield from renamed({f"{theirs}.attn.qkv": f"backbone.{ours}.attention.qkv"}, qkv)


class Bert(Make):
    """Of TiTok L-32 and B-64."""

    marks = (f"{_WORDS}.word_embeddings.weight", f"{_LAYER}.0.attention.self.query.weight", "model.lm_head.weight")
    table, places = f"{_WORDS}.word_embeddings.weight", (f"{_WORDS}.position_embeddings.weight", 0)
    output = "model.lm_head"

    def backbone(self, shapes: Shapes, num_heads: int, norm_eps: float) -> Backbone:
        hidden, width = shapes.axes(f"{_LAYER}.0.intermediate.dense.weight", 2)
        return PostNorm(
            width=width,
            num_layers=shapes.count(_LAYER + ".{}.intermediate.dense.weight"),
            attention=Attention(num_heads=num_heads, qkv_bias=True, out_bias=True),
            feed_forward=MLP(ratio=ratio_of(hidden, width), activation=Activation.GELU),
            norm=LayerNorm(eps=norm_eps or 1e-12),
            dropout=_DROPOUT,
        )

    def rules(self, backbone: Backbone, places: Tensor) -> Iterator[Rule]:
        assert isinstance(backbone, PostNorm)
        yield _typed_places(self.places[0], places)
        yield from renamed({f"{_WORDS}.LayerNorm": "backbone.norm_in"}, BOTH)
        for layer in range(backbone.num_layers):
            theirs, ours = f"{_LAYER}.{layer}", f"backbone.blocks.{layer}"
            yield from renamed({f"{theirs}.{old}": f"{ours}.{new}" for old, new in _BERT.items()}, BOTH)
            for part in BOTH:
                apart = [f"{theirs}.attention.self.{name}.{part}" for name in ("query", "key", "value")]
                yield joined(apart, f"{ours}.attention.qkv.{part}")


def _typed_places(theirs: str, places: Tensor) -> Rule:
    """BERT adds the vector of a type to each place; all are of type 0, of two."""
    back = places.argsort()

    def own(place_SD: Tensor, type_2D: Tensor) -> Tensors:
        return ((place_SD + type_2D[0])[places],)

    def published(place_SD: Tensor) -> Tensors:
        return place_SD[back], torch.zeros_like(place_SD[:2])

    return Rule((theirs, f"{_WORDS}.token_type_embeddings.weight"), (_PLACES,), own, published)
