"""RAR (arXiv 2411.00776): tokens one after the other, each slot told which it predicts, trained in drawn orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.maskgit_vq import MaskGITVQ
from arlab.checkpoints.names import BOTH, Names, Rule, Tensors, constant, cut, renamed, reordered
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import grid_of, ratio_of, refuse_other_codes
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.random_causal import RandomCausal
from arlab.ranges import require
from arlab.tokenizers.tokenizer import Tokenizer

_BLOCK = {
    "norm1": "attention_norm",
    "norm2": "feed_forward_norm",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.out",
    "attn.q_norm": "attention.qk_norm.q_norm",
    "attn.k_norm": "attention.qk_norm.k_norm",
    "mlp.fc1": "feed_forward.fc1",
    "mlp.fc2": "feed_forward.fc2",
}
# Published as shift, scale, gate of attention, then of the MLP; ours are gates, scales, shifts.
_SIX = (2, 5, 1, 4, 0, 3)
# The learned start and the condition stand in front of the tokens.
_AHEAD = 2
# Rows that published tables have beyond the tokens', most of them unused.
_SPARE_PLACES, _SPARE_STEPS = 1024, 100
_DROPOUT = 0.1
# Nothing is left to tell of the released sizes.
PRESETS: dict[str, dict[str, object]] = {size: {} for size in ("b", "l", "xl", "xxl")}


class RAR(GeneratorFamily):
    """RAR, B to XXL; its tensors tell everything but the shape of a grid that is no square.

    Randomized Autoregressive Visual Generation (RAR), arXiv 2411.00776.

    Args:
        rows: tokens along the height; 0: the grid is square.
        norm_eps: added to variances.
    """

    marks = ("target_aware_pos_embed", "timesteps_embeddings", "adaln_before_head.adaLN_modulation.1.weight")
    unused = (r"^attn_mask$",)
    tokenizers = (MaskGITVQ,)
    presets = PRESETS

    def __init__(self, *, rows: int = 0, norm_eps: float = 1e-6) -> None:
        require("norm_eps", norm_eps, at_least=0)
        self.rows = rows
        self.norm_eps = norm_eps

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return grid_of(shapes.size("timesteps_embeddings", 1) - _SPARE_STEPS, self.rows)

    def count_classes(self, shapes: Shapes) -> int:
        # Beside codes and classes there are a mask, which is not used, and 'no class'.
        return shapes.size("embeddings.weight") - shapes.size("lm_head.weight") - 2

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        hidden, width = (shapes.size("blocks.0.mlp.fc1.weight", axis) for axis in (0, 1))
        refuse_other_codes(shapes.size("lm_head.weight"), tokenizer)
        norm = LayerNorm(eps=self.norm_eps)
        backbone = Transformer(
            width=width,
            num_layers=shapes.count("blocks.{}.mlp.fc1.weight"),
            attention=Attention(
                num_heads=width // max(1, shapes.size("blocks.0.attn.q_norm.weight")),
                qk_norm=NormedQK(norm=norm),
                qkv_bias=True,
                out_bias=True,
            ),
            feed_forward=MLP(ratio=ratio_of(hidden, width), activation=Activation.GELU),
            norm=norm,
            rotary=NoRotary(),
            places=[LearnedPlaces(), TargetPlaces()],
            modulation=StepModulation(),
            dropout=_DROPOUT,
        )
        head = DiscreteHead(bias=True)
        return Generator(tokenizer=tokenizer, ordering=RandomCausal(), backbone=backbone, head=head, ema_decay=0)

    def names(self, generator: Generator) -> Names:
        backbone, space = generator.backbone, generator.tokenizer.space
        assert isinstance(backbone, Transformer)
        assert space.codebook_size is not None
        codes, classes = space.codebook_size, generator.facts.num_classes
        table = [("head.embedding.weight", codes), (None, 1), ("conditioner.embedding.weight", classes + 1)]
        return Names(
            [
                cut("embeddings.weight", table),
                *_tables(generator.layout.num_tokens),
                *_blocks(backbone.num_layers),
                # The published norm in front of the head has no weights.
                constant("backbone.norms.0.weight", lambda: torch.ones(backbone.width)),
                constant("backbone.norms.0.bias", lambda: torch.zeros(backbone.width)),
                *renamed(
                    {
                        "adaln_before_head.adaLN_modulation.1": "backbone.conditioning.inner.final",
                        "lm_head": "head.outputs.0",
                    },
                    BOTH,
                ),
            ]
        )


def _blocks(num_layers: int) -> Iterator[Rule]:
    for layer in range(num_layers):
        theirs, ours = f"blocks.{layer}", f"backbone.blocks.{layer}"
        yield from renamed({f"{theirs}.{old}": f"{ours}.{new}" for old, new in _BLOCK.items()}, BOTH)
        for part in BOTH:
            adaln = f"backbone.conditioning.inner.blocks.{layer}.{part}"
            yield reordered(f"{theirs}.adaLN_modulation.1.{part}", adaln, _SIX)


def _tables(num_tokens: int) -> Iterator[Rule]:
    """The rules of what is looked up by place, target and step."""
    tokens, rows = list(range(_AHEAD, _AHEAD + num_tokens)), num_tokens + _SPARE_PLACES
    yield _start([*tokens, 1], rows)
    yield _picked("target_aware_pos_embed", "backbone.places.1.table", tokens, rows)
    # Later steps first, then the condition and the start, which are fed together.
    yield _picked(
        "timesteps_embeddings", "backbone.conditioning.table", [*tokens[:-1], 1, 0], num_tokens + _SPARE_STEPS
    )


def _picked(theirs: str, ours: str, index: Sequence[int], rows: int) -> Rule:
    """Our row i is their row ``index[i]``; the others of their rows are unused, published as zeros."""
    return Rule((theirs,), (ours,), lambda value: (value[0, index],), lambda value: (_spread(value, index, rows),))


def _start(index: Sequence[int], rows: int) -> Rule:
    """As ``_picked``, but for row 0: the start stands nowhere here, so that its place is part of its vector."""

    def own(start_11D: Tensor, place_1RD: Tensor) -> Tensors:
        return start_11D[0] + place_1RD[0, :1], place_1RD[0, index]

    def published(start_1D: Tensor, place_RD: Tensor) -> Tensors:
        return start_1D[None], _spread(place_RD, index, rows)

    return Rule(("cls_token", "pos_embed"), ("slot_embedding.learned_RD", "backbone.places.0.table"), own, published)


def _spread(value: Tensor, index: Sequence[int], rows: int) -> Tensor:
    spread = value.new_zeros(1, rows, value.shape[-1])
    spread[0, index] = value
    return spread
