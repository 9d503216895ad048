"""What VAR and FlexVAR share: the names of the backbone and all around it, and what its tensors tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP
from arlab.backbones.modulation import AdaLN, SharedAdaLN
from arlab.backbones.norms import L2QKNorm, LayerNorm, NoQKNorm
from arlab.backbones.places import Places
from arlab.backbones.rotary import NoRotary
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.names import BOTH, Rule, Tensors, joined, renamed, same
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import ratio_of
from arlab.generators.generator import Generator

MARKS = ("pos_start", "pos_1LC", "word_embed.weight", "head_nm.ada_lin.1.weight", "blocks.0.attn.mat_qkv.weight")
# Masks, the level of each place, the zeros that stand for a bias of keys, and a tokenizer that lies beside.
UNUSED = (r"^attn_bias_for_masking$", r"^lvl_1L$", r"\.attn\.zero_k_bias$", r"^vae\w*\.")
_SCALE = "blocks.0.attn.scale_mul_1H11"
_INSIDE = "blocks.{}.ffn.fc1.weight"
_SHARED = "shared_ada_lin.1"
_HEAD_WIDTH = 64
# Of the softmax where queries and keys are not normalised: 0.25 / √(width of a head).
_PLAIN_FACTOR = 0.25


def var_backbone(shapes: Shapes, *, num_heads: int, norm_eps: float, places: Sequence[Places]) -> Transformer:
    """The backbone: depth, widths, l2-norm of queries and keys and kind of adaLN are the tensors'.

    Args:
        shapes: of the published tensors.
        num_heads: of attention; 0: as the tensors tell, or one for each 64 of the width.
        norm_eps: of the layer norms.
        places: what is added to the input.

    Raises:
        ValueError: a tensor is missing, or the number of heads contradicts them or does not divide the width.
    """
    hidden, width = shapes.size(_INSIDE.format(0)), shapes.size(_INSIDE.format(0), 1)
    depth = shapes.count(_INSIDE)
    normed = _SCALE in shapes
    return Transformer(
        width=width,
        num_layers=depth,
        attention=Attention(
            num_heads=_heads(shapes, num_heads, width),
            qk_norm=L2QKNorm() if normed else NoQKNorm(factor=_PLAIN_FACTOR),
            qkv_bias=True,
            out_bias=True,
        ),
        feed_forward=MLP(ratio=ratio_of(hidden, width)),
        norm=LayerNorm(eps=norm_eps, affine=False),
        rotary=NoRotary(),
        places=list(places),
        modulation=SharedAdaLN() if f"{_SHARED}.weight" in shapes else AdaLN(),
        # As all of them were trained; in arlab below 1, as it must be.
        drop_path=min(0.1 * depth / 24, 0.99),
    )


def var_names(generator: Generator) -> Iterator[Rule]:
    """The rules that both share: all but those of places."""
    backbone = generator.backbone
    assert isinstance(backbone, Transformer)
    yield same("class_emb.weight", "conditioner.embedding.weight")
    yield from renamed(
        {
            "word_embed": "slot_embedding.computed",
            "head_nm.ada_lin.1": "backbone.conditioning.final",
            "head": "head.outputs.0",
        },
        BOTH,
    )
    shared = isinstance(backbone.modulation, SharedAdaLN)
    for layer in range(backbone.num_layers):
        theirs, ours = f"blocks.{layer}", f"backbone.blocks.{layer}"
        yield same(f"{theirs}.attn.mat_qkv.weight", f"{ours}.attention.qkv.weight")
        # Keys have no bias there; ours begins at zero.
        yield joined([f"{theirs}.attn.q_bias", None, f"{theirs}.attn.v_bias"], f"{ours}.attention.qkv.bias")
        if isinstance(backbone.attention.qk_norm, L2QKNorm):
            yield _scale(f"{theirs}.attn.scale_mul_1H11", f"{ours}.attention.qk_norm.log_scale_H")
        parts = {"attn.proj": "attention.out", "ffn.fc1": "feed_forward.fc1", "ffn.fc2": "feed_forward.fc2"}
        yield from renamed({f"{theirs}.{old}": f"{ours}.{new}" for old, new in parts.items()}, BOTH)
        if not shared:
            yield from renamed({f"{theirs}.ada_lin.1": f"backbone.conditioning.blocks.{layer}"}, BOTH)
    if shared:
        yield from renamed({_SHARED: "backbone.conditioning.map"}, BOTH)
        yield _offsets(backbone.num_layers)


def _heads(shapes: Shapes, num_heads: int, width: int) -> int:
    if _SCALE not in shapes:
        return num_heads or max(1, width // _HEAD_WIDTH)
    told = shapes.size(_SCALE, 1)
    if num_heads not in (0, told):
        raise ValueError(f"num_heads: {num_heads}, but its {_SCALE} is of {told} heads")
    return told


def _scale(theirs: str, ours: str) -> Rule:
    """One number per head, published as (1, H, 1, 1)."""
    return Rule((theirs,), (ours,), lambda value: (value.flatten(),), lambda value: (value[None, :, None, None],))


def _offsets(depth: int) -> Rule:
    """Six vectors of each block, (1, 1, 6, D), and all blocks' in one table, (L, 6 D)."""

    def together(*offsets: Tensor) -> Tensors:
        return (torch.stack([each.flatten() for each in offsets]),)

    def apart(offset_LD: Tensor) -> Tensors:
        return tuple(offset.view(1, 1, 6, -1) for offset in offset_LD)

    names = tuple(f"blocks.{layer}.ada_gss" for layer in range(depth))
    return Rule(names, ("backbone.conditioning.offset_LD",), together, apart)
