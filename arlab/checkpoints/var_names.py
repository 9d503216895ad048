"""What VAR and FlexVAR share: the names of the backbone and of all around it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.backbones.modulation import SharedAdaLN
from arlab.backbones.norms import L2QKNorm
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.names import BOTH, Rule, Tensors, joined, renamed, same
from arlab.generators.generator import Generator

MARKS = ("pos_start", "pos_1LC", "word_embed.weight", "head_nm.ada_lin.1.weight", "blocks.0.attn.mat_qkv.weight")
# Masks, the level of each place, the zeros that stand for a bias of keys, and a tokenizer that lies beside.
UNUSED = (r"^attn_bias_for_masking$", r"^lvl_1L$", r"\.attn\.zero_k_bias$", r"^vae\w*\.")
SHARED = "shared_ada_lin.1"
"""The map of adaLN that all blocks share, where they do."""


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
        yield from renamed({SHARED: "backbone.conditioning.map"}, BOTH)
        yield _offsets(backbone.num_layers)


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
