"""MAR (arXiv 2406.11838): sets of masked tokens, each token out of noise by a network of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch

from arlab.backbones.attention import Attention
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.norms import LayerNorm
from arlab.checkpoints.family import MOST_TOKENS, GeneratorFamily
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.checkpoints.mar_names import ATTENTION, TIME, of_tokens, stage_names
from arlab.checkpoints.mar_shapes import DROPOUT, copies, depths, linear, refuse_other_vectors, refuse_patches
from arlab.checkpoints.names import BOTH, Names, Rule, leading, permuted, renamed
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import grid_of, ratio_of
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.diffusion_targets import PredictsNoise
from arlab.heads.diffusion_variances import LargeVariance, LearnedRange
from arlab.heads.token_mlp import TokenMLP
from arlab.orderings.masked import Masked
from arlab.orderings.set_sizes import CosineSizes
from arlab.ranges import require
from arlab.tokenizers.tokenizer import Tokenizer

WIDTHS = {"b": 768, "l": 1024, "h": 1280}
_HEADS = {"b": 12, "l": 16, "h": 16}
PRESETS = {size: {"num_heads": num_heads, "num_steps": 256} for size, num_heads in _HEADS.items()}
# What the published code calls these sizes.
_CALLED = {"mar_base": "b", "mar_large": "l", "mar_huge": "h"}
_LEVELS = 1000
# How often a token is noised in a training step.
_REPEATS = 4
_BLOCK = ATTENTION | {
    "norm1": "attention_norm",
    "norm2": "feed_forward_norm",
    "mlp.fc1": "feed_forward.fc1",
    "mlp.fc2": "feed_forward.fc2",
}
_NETWORK = TIME | {
    "cond_embed": "condition",
    "input_proj": "input",
    "final_layer.adaLN_modulation.1": "modulation",
    "final_layer.linear": "output",
}
_NETWORK_BLOCK = {"in_ln": "norm", "mlp.0": "mlp.0", "mlp.2": "mlp.2", "adaLN_modulation.1": "modulation"}


class MAR(GeneratorFamily):
    """MAR-B, -L and -H.

    Autoregressive Image Generation without Vector Quantization (MAR), arXiv 2406.11838.

    Args:
        num_heads: of attention.
        num_steps: in how many steps tokens are drawn; 64 unless asked otherwise, 256 for the figures it reports.
        diffusion_steps: how many noise levels a token is drawn through.
        norm_eps: added to the variances of the backbone's norms.
        rows: tokens along the height, where they are no square; 0: they are.
    """

    marks = ("diffloss.net.input_proj.weight", "fake_latent", "mask_token")
    tokenizers = (LDMKL,)
    # Sampled from the averaged weights.
    entries = ("model_ema", *GeneratorFamily.entries)
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        num_steps: int = 64,
        diffusion_steps: int = 100,
        norm_eps: float = 1e-6,
        rows: int = 0,
    ) -> None:
        if num_heads is not None:
            require("num_heads", num_heads, at_least=1)
        require("num_steps", num_steps, at_least=1, at_most=MOST_TOKENS)
        require("diffusion_steps", diffusion_steps, at_least=1, at_most=_LEVELS)
        require("norm_eps", norm_eps, above=0, below=1)
        self.num_heads = num_heads
        self.num_steps = num_steps
        self.diffusion_steps = diffusion_steps
        self.norm_eps = norm_eps
        self.rows = rows

    def informed(self, args: Mapping[str, object]) -> Self:
        refuse_patches(args)
        size = _CALLED.get(str(args.get("model")))
        if size is None or self.num_heads is not None:
            return self
        return type(self)(
            num_heads=_HEADS[size],
            num_steps=self.num_steps,
            diffusion_steps=self.diffusion_steps,
            norm_eps=self.norm_eps,
            rows=self.rows,
        )

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return grid_of(shapes.size("diffusion_pos_embed_learned", 1), self.rows)

    def count_classes(self, shapes: Shapes) -> int:
        return linear(shapes, "class_emb")[0]

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        refuse_other_vectors(shapes, tokenizer)
        if copies(shapes) < 1:
            raise ValueError(f"buffer_size: must be at least 1, or nothing tells of the class, got {copies(shapes)}")
        return Generator(
            tokenizer=tokenizer,
            ordering=Masked(set_sizes=CosineSizes(num_steps=self.num_steps)),
            backbone=self._backbone(shapes),
            head=self._head(shapes),
            conditioner=ClassLabel(num_slots=copies(shapes)),
            ema_decay=0,
        )

    def _backbone(self, shapes: Shapes) -> EncoderDecoder:
        first, second = depths(shapes)
        hidden, width = linear(shapes, "encoder_blocks.0.mlp.fc1")
        num_heads = self.need(self.num_heads)
        if width % num_heads:
            raise ValueError(f"num_heads: must divide a width of {width}, got {num_heads}")
        return EncoderDecoder(
            width=width,
            num_encoder_layers=first,
            num_decoder_layers=second,
            attention=Attention(num_heads=num_heads, qkv_bias=True, out_bias=True),
            feed_forward=MLP(ratio=ratio_of(hidden, width), activation=Activation.GELU),
            norm=LayerNorm(eps=self.norm_eps),
            dropout=DROPOUT,
        )

    def _head(self, shapes: Shapes) -> DiffusionHead:
        inner, token_width = linear(shapes, "diffloss.net.input_proj")
        learned = linear(shapes, "diffloss.net.final_layer.linear")[0] == 2 * token_width
        return DiffusionHead(
            denoiser=TokenMLP(width=inner, num_blocks=shapes.count("diffloss.net.res_blocks.{}.in_ln.weight")),
            target=PredictsNoise(),
            # What its code does where the network says nothing of it.
            variance=LearnedRange() if learned else LargeVariance(),
            num_steps=self.diffusion_steps,
            repeats=_REPEATS,
        )

    def names(self, generator: Generator) -> Names:
        backbone, head = generator.backbone, generator.head
        assert isinstance(backbone, EncoderDecoder)
        assert isinstance(head, DiffusionHead)
        assert isinstance(head.denoiser, TokenMLP)
        slots, num_tokens = generator.conditioner.num_slots, generator.layout.num_tokens
        # Published behind the condition, here in front of it.
        place = torch.arange(slots + num_tokens).roll(-slots)
        network = _NETWORK | {
            f"res_blocks.{block}.{theirs}": f"blocks.{block}.{ours}"
            for block in range(head.denoiser.num_blocks)
            for theirs, ours in _NETWORK_BLOCK.items()
        }
        own = {f"diffloss.net.{theirs}": f"head.denoiser.networks.0.{ours}" for theirs, ours in network.items()}
        return Names(
            [
                *stage_names(backbone, _BLOCK, BOTH),
                *renamed({"z_proj": "head.input"} | own, BOTH),
                leading("mask_token", "slot_embedding.learned_RD"),
                permuted("encoder_pos_embed_learned", "backbone.encoder_places.0.table", place),
                permuted("decoder_pos_embed_learned", "backbone.decoder_places.0.table", place),
                of_tokens("diffusion_pos_embed_learned", "backbone.out_places.0.table", slots),
                _CLASSES,
            ]
        )


# The last row is 'no class'.
_CLASSES = Rule(
    ("class_emb.weight", "fake_latent"),
    ("conditioner.embedding.weight",),
    lambda classes, none: (torch.cat((classes, none)),),
    lambda table: (table[:-1], table[-1:]),
)
