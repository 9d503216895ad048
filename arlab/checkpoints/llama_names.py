"""What LlamaGen, NAR, PAR and RandAR share: the names of a LlamaGen backbone, and what its tensors tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import GatedMLP
from arlab.backbones.norms import RMSNorm
from arlab.backbones.places import Places
from arlab.backbones.rotary import AxialRotary
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.names import Rule, renamed, same
from arlab.checkpoints.shapes import Shapes

_BLOCK = {
    "attention.wqkv": "attention.qkv",
    "attention.wo": "attention.out",
    "attention_norm": "attention_norm",
    "ffn_norm": "feed_forward_norm",
    "feed_forward.w1": "feed_forward.gate",
    "feed_forward.w3": "feed_forward.up",
    "feed_forward.w2": "feed_forward.down",
}
# While training; all of them were trained with it.
_DROPOUT = 0.1
MARKS = ("tok_embeddings.weight", "layers.0.attention.wqkv.weight", "output.weight")
CLASSES = (same("cls_embedding.embedding_table.weight", "conditioner.embedding.weight"),)
"""Of a condition that is a class."""
# Tables of rotary positions and of who sees whom.
UNUSED = (r"^freqs_cis$", r"^causal_mask$", r"kv_cache")


def llama_names(num_layers: int, condition: Iterable[Rule] = CLASSES) -> Iterator[Rule]:
    """The rules that all of them share, and those of the condition."""
    yield from (
        *condition,
        same("tok_embeddings.weight", "head.embedding.weight"),
        same("output.weight", "head.outputs.0.weight"),
        same("norm.weight", "backbone.norms.0.weight"),
    )
    for layer in range(num_layers):
        yield from renamed({f"layers.{layer}.{old}": f"backbone.blocks.{layer}.{new}" for old, new in _BLOCK.items()})


def llama_backbone(
    shapes: Shapes,
    *,
    num_heads: int,
    rope_base: float,
    norm_eps: float,
    places: Sequence[Places] = (),
    way_layers: int | None = None,
) -> Transformer:
    """The backbone: width and depth are the tensors', and the width inside feed-forward layers.

    Args:
        shapes: of the published tensors.
        num_heads: of attention.
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.
        places: added to the input.
        way_layers: how many of the layers lie between two ways out; none: there is one way.

    Raises:
        ValueError: a tensor is missing, the heads do not divide the width, or there are too few layers.
    """
    gate = "layers.0.feed_forward.w1.weight"
    hidden, width = shapes.size(gate), shapes.size(gate, 1)
    depth = shapes.count("layers.{}.attention.wqkv.weight")
    if way_layers is not None and not 0 < way_layers < depth:
        raise ValueError(f"way_layers: expected at least 1 and fewer than all {depth} layers, got {way_layers}")
    return Transformer(
        width=width,
        num_layers=depth - (way_layers or 0),
        attention=Attention(num_heads=num_heads),
        feed_forward=GatedMLP(ratio=hidden / width, multiple_of=1),
        norm=RMSNorm(eps=norm_eps),
        rotary=AxialRotary(base=rope_base),
        places=list(places) or None,
        dropout=_DROPOUT,
        way_layers=way_layers or 1,
    )
