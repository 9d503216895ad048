"""NAR (arXiv 2503.10696): LlamaGen with a second way out, for the neighbour below."""

from __future__ import annotations

from arlab.backbones.transformer import Transformer
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.llama_names import MARKS, UNUSED, llama_backbone, llama_names
from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.checkpoints.names import Names, same
from arlab.checkpoints.shapes import Shapes
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.tokenizers.tokenizer import Tokenizer

PRESETS = {
    size: {"num_heads": num_heads, "grid": [16, 16], "way_layers": 1}
    for size, num_heads in {"b": 12, "m": 16, "l": 16}.items()
}
WIDTHS = {"b": 768, "m": 1024, "l": 1024}


class NAR(GeneratorFamily):
    """Class-conditional NAR, B to L.

    Neighboring Autoregressive Modeling for Efficient Visual Generation (NAR), arXiv 2503.10696.

    Args:
        num_heads: of attention; the released sizes have width / 64.
        grid: tokens along height and width.
        way_layers: how many of the last layers only the neighbour below has (``medusa_attention_num``).
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.
    """

    marks = (*MARKS, "medusa_norm.weight", "medusa_output.weight")
    unused = UNUSED
    tokenizers = (LlamaGenVQ,)
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        grid: list[int] | None = None,
        way_layers: int | None = None,
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        self.num_heads = num_heads
        self.grid = grid
        self.way_layers = way_layers
        self.rope_base = rope_base
        self.norm_eps = norm_eps

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return self.sides("grid", self.grid)

    def count_classes(self, shapes: Shapes) -> int:
        return shapes.size("cls_embedding.embedding_table.weight") - 1

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        backbone = llama_backbone(
            shapes,
            num_heads=self.need(self.num_heads),
            rope_base=self.rope_base,
            norm_eps=self.norm_eps,
            way_layers=self.need(self.way_layers),
        )
        return Generator(
            tokenizer=tokenizer, ordering=NextNeighbor(), backbone=backbone, head=DiscreteHead(), ema_decay=0
        )

    def names(self, generator: Generator) -> Names:
        assert isinstance(generator.backbone, Transformer)
        below = (
            same("medusa_norm.weight", "backbone.norms.1.weight"),
            same("medusa_output.weight", "head.outputs.1.weight"),
        )
        return Names([*llama_names(generator.backbone.num_layers + generator.backbone.way_layers), *below])
