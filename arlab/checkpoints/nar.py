"""NAR (arXiv 2503.10696): LlamaGen with a second way out, for the neighbour below."""

from __future__ import annotations

from collections.abc import Iterable

from arlab.backbones.transformer import Transformer
from arlab.checkpoints.llama_names import MARKS
from arlab.checkpoints.llama_texts import LlamaTexts
from arlab.checkpoints.names import Rule, same
from arlab.checkpoints.shapes import Shapes
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.ranges import require

_SIZES = {"b": (12, 768), "m": (16, 1024), "l": (16, 1024), "xl": (20, 1280)}
"""Heads and width."""
_RELEASED = [*((size, size, 16) for size in _SIZES), *((f"t2i_xl_{16 * side}", "xl", side) for side in (16, 32))]
PRESETS = {
    name: {"num_heads": _SIZES[size][0], "grid": [side, side], "way_layers": 1} for name, size, side in _RELEASED
}
WIDTHS = {name: _SIZES[size][1] for name, size, _ in _RELEASED}


class NAR(LlamaTexts):
    """NAR of classes, B to XL, and of texts: of prompts that a file names, with their embeddings.

    Neighboring Autoregressive Modeling for Efficient Visual Generation (NAR), arXiv 2503.10696.

    Args:
        num_heads: of attention; the released sizes have width / 64.
        grid: tokens along height and width.
        way_layers: how many of the last layers only the neighbour below has (``medusa_attention_num``).
        captions: of a text-conditional model the file of prompts and their embeddings; of others none.
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.
    """

    marks = (*MARKS, "medusa_norm.weight", "medusa_output.weight")
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        grid: list[int] | None = None,
        way_layers: int | None = None,
        captions: str = "",
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(num_heads=num_heads, grid=grid, captions=captions, rope_base=rope_base, norm_eps=norm_eps)
        if way_layers is not None:
            require("way_layers", way_layers, at_least=1)
        self.way_layers = way_layers

    def ordering(self, shapes: Shapes) -> NextNeighbor:
        return NextNeighbor(causal_condition=self.takes_texts(shapes))

    def layers_behind(self) -> int:
        return self.need(self.way_layers)

    def rules(self, backbone: Transformer) -> Iterable[Rule]:
        return (
            same("medusa_norm.weight", "backbone.norms.1.weight"),
            same("medusa_output.weight", "head.outputs.1.weight"),
        )
