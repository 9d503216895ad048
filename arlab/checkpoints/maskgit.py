"""MaskGIT as TiTok's code has it (arXiv 2406.07550): a U-ViT whose masks are filled in, the most confident first."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.long_skips import LongSkips
from arlab.backbones.norms import LayerNorm
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.maskgit_vq import MaskGITVQ
from arlab.checkpoints.names import BOTH, Names, Rule, cut, permuted, renamed
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import grid_of, ratio_of
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.mask_ratios import ArccosRatio
from arlab.orderings.masked import Masked
from arlab.orderings.set_sizes import ArccosSizes
from arlab.tokenizers.tokenizer import Tokenizer

_BLOCK = {
    "norm1": "attention_norm",
    "norm2": "feed_forward_norm",
    "attn.proj": "attention.out",
    "mlp.fc1": "feed_forward.fc1",
    "mlp.fc2": "feed_forward.fc2",
}
_MIDDLE = "mid_block"
_LABEL_SMOOTHING = 0.1
PRESETS = {"s_128": {"num_heads": 16, "rows": 1, "num_steps": 64, "temperature": 2.8}}


class MaskGIT(GeneratorFamily):
    """The U-ViT that TiTok S-128 was released with, on any tokenizer of codes; without weights on unmasked tokens.

    MaskGIT: Masked Generative Image Transformer, arXiv 2202.04200; An Image is Worth 32 Tokens for Reconstruction and
    Generation (TiTok), arXiv 2406.07550.

    Args:
        num_heads: of attention.
        rows: tokens along the height, 1 for TiTok's; 0: the grid is square.
        num_steps: in which all tokens become known.
        temperature: of the noise on confidences.
        norm_eps: added to variances.
    """

    marks = ("in_blocks.0.attn.qkv.weight", f"{_MIDDLE}.attn.qkv.weight", "out_blocks.0.skip_linear.weight")
    tokenizers = (MaskGITVQ,)
    presets = PRESETS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        rows: int = 0,
        num_steps: int = 8,
        temperature: float = 4.5,
        norm_eps: float = 1e-5,
    ) -> None:
        self.num_heads = num_heads
        self.rows = rows
        self.num_steps = num_steps
        self.temperature = temperature
        self.norm_eps = norm_eps

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        # The first place is the condition's.
        return grid_of(shapes.size("pos_embed", 1) - 1, self.rows)

    def count_classes(self, shapes: Shapes) -> int:
        # Beside codes and classes there are a mask and 'no class'.
        return shapes.size("embeddings.weight") - shapes.size("lm_head.weight") - 2

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        hidden, width = (shapes.size(f"{_MIDDLE}.mlp.fc1.weight", axis) for axis in (0, 1))
        backbone = LongSkips(
            width=width,
            num_skips=shapes.count("in_blocks.{}.mlp.fc1.weight"),
            attention=Attention(
                num_heads=self.need(self.num_heads), qkv_bias=f"{_MIDDLE}.attn.qkv.bias" in shapes, out_bias=True
            ),
            feed_forward=MLP(ratio=ratio_of(hidden, width), activation=Activation.GELU),
            norm=LayerNorm(eps=self.norm_eps),
        )
        ordering = Masked(
            set_sizes=ArccosSizes(num_steps=self.num_steps),
            choice=ConfidenceChoice(temperature=self.temperature, by_logit=True),
            mask_ratio=ArccosRatio(),
        )
        head = DiscreteHead(bias=True, label_smoothing=_LABEL_SMOOTHING)
        return Generator(tokenizer=tokenizer, ordering=ordering, backbone=backbone, head=head, ema_decay=0)

    def names(self, generator: Generator) -> Names:
        backbone, space = generator.backbone, generator.tokenizer.space
        assert isinstance(backbone, LongSkips)
        assert space.codebook_size is not None
        table = [
            ("head.embedding.weight", space.codebook_size),
            ("slot_embedding.learned_RD", 1),
            ("conditioner.embedding.weight", generator.facts.num_classes + 1),
        ]
        places = torch.arange(generator.layout.num_tokens + 1).roll(-1)
        return Names(
            [
                cut("embeddings.weight", table),
                permuted("pos_embed", "backbone.places.0.table", places, axes=1),
                *_blocks(backbone),
                *renamed({"norm": "backbone.norms.0", "lm_head": "head.outputs.0"}, BOTH),
            ]
        )


def _blocks(backbone: LongSkips) -> Iterator[Rule]:
    blocks = {_MIDDLE: "middle_blocks.0"}
    for layer in range(backbone.num_skips):
        blocks |= {f"in_blocks.{layer}": f"in_blocks.{layer}", f"out_blocks.{layer}": f"out_blocks.{layer}"}
        yield from renamed({f"out_blocks.{layer}.skip_linear": f"backbone.skips.{layer}"}, BOTH)
    for theirs, ours in blocks.items():
        yield from renamed({f"{theirs}.{old}": f"backbone.{ours}.{new}" for old, new in _BLOCK.items()}, BOTH)
        qkv = BOTH if backbone.attention.qkv_bias else ("weight",)
        yield from renamed({f"{theirs}.attn.qkv": f"backbone.{ours}.attention.qkv"}, qkv)
