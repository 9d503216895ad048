"""What LlamaGen, NAR, PAR and RandAR share: the names of a LlamaGen backbone."""

from __future__ import annotations

from collections.abc import Iterator

from arlab.checkpoints.names import Rule, renamed, same

_BLOCK = {
    "attention.wqkv": "attention.qkv",
    "attention.wo": "attention.out",
    "attention_norm": "attention_norm",
    "ffn_norm": "feed_forward_norm",
    "feed_forward.w1": "feed_forward.gate",
    "feed_forward.w3": "feed_forward.up",
    "feed_forward.w2": "feed_forward.down",
}
MARKS = ("tok_embeddings.weight", "layers.0.attention.wqkv.weight", "output.weight")
CLASS_TABLE = "cls_embedding.embedding_table.weight"
CLASSES = (same(CLASS_TABLE, "conditioner.embedding.weight"),)
"""Of a condition that is a class."""
TURNS = "freqs_cis"
"""Cosines and sines of rotary positions."""
# And tables of who sees whom.
UNUSED = (rf"^{TURNS}$", r"^causal_mask$", r"kv_cache")


def llama_names(num_layers: int) -> Iterator[Rule]:
    """The rules that all of them share."""
    yield from (
        same("tok_embeddings.weight", "head.embedding.weight"),
        same("output.weight", "head.outputs.0.weight"),
        same("norm.weight", "backbone.norms.0.weight"),
    )
    for layer in range(num_layers):
        yield from renamed({f"layers.{layer}.{old}": f"backbone.blocks.{layer}.{new}" for old, new in _BLOCK.items()})
