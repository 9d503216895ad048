"""MAR (arXiv 2406.11838): sets of masked tokens, each token out of noise by a network of its own."""

from __future__ import annotations

import torch

from arlab.backbones.attention import Attention
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.norms import LayerNorm
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.checkpoints.mar_names import (
    ATTENTION,
    DROPOUT,
    TIME,
    depths,
    linear,
    of_tokens,
    refuse_patches,
    stage_names,
)
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
from arlab.tokenizers.tokenizer import Tokenizer

WIDTHS = {"b": 768, "l": 1024, "h": 1280}
PRESETS = {size: {"num_heads": num_heads, "num_steps": 256} for size, num_heads in {"b": 12, "l": 16, "h": 16}.items()}
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
        self.num_heads = num_heads
        self.num_steps = num_steps
        self.diffusion_steps = diffusion_steps
        self.norm_eps = norm_eps
        self.rows = rows

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return grid_of(shapes.size("diffusion_pos_embed_learned", 1), self.rows)

    def count_classes(self, shapes: Shapes) -> int:
        return linear(shapes, "class_emb")[0]

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        refuse_patches(shapes, tokenizer)
        copies = shapes.size("encoder_pos_embed_learned", 1) - shapes.size("diffusion_pos_embed_learned", 1)
        return Generator(
            tokenizer=tokenizer,
            ordering=Masked(set_sizes=CosineSizes(num_steps=self.num_steps)),
            backbone=self._backbone(shapes),
            head=self._head(shapes),
            conditioner=ClassLabel(num_slots=copies),
            ema_decay=0,
        )

    def _backbone(self, shapes: Shapes) -> EncoderDecoder:
        first, second = depths(shapes)
        hidden, width = linear(shapes, "encoder_blocks.0.mlp.fc1")
        return EncoderDecoder(
            width=width,
            num_encoder_layers=first,
            num_decoder_layers=second,
            attention=Attention(num_heads=self.need(self.num_heads), qkv_bias=True, out_bias=True),
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
        copies, num_tokens = generator.conditioner.num_slots, generator.layout.num_tokens
        # Published behind the condition, here in front of it.
        place = torch.arange(copies + num_tokens).roll(-copies)
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
                permuted("encoder_pos_embed_learned", "backbone.encoder_places.0.table", place, axes=1),
                permuted("decoder_pos_embed_learned", "backbone.decoder_places.0.table", place, axes=1),
                of_tokens("diffusion_pos_embed_learned", "backbone.out_places.0.table", copies),
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
