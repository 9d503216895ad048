"""LlamaGen (arXiv 2406.06525): tokens one after the other in raster order."""

from __future__ import annotations

from arlab.backbones.transformer import Transformer
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.llama_names import MARKS, UNUSED, llama_backbone, llama_names
from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.checkpoints.names import Names
from arlab.checkpoints.shapes import Shapes
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.raster import Raster
from arlab.tokenizers.tokenizer import Tokenizer

PRESETS = {
    f"{size}_{16 * side}": {"num_heads": num_heads, "grid": [side, side]}
    for size, num_heads in {"b": 12, "l": 16, "xl": 20, "xxl": 24, "3b": 32}.items()
    for side in (16, 24)
}


class LlamaGen(GeneratorFamily):
    """Class-conditional LlamaGen, B to 3B.

    Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation (LlamaGen), arXiv 2406.06525.

    Args:
        num_heads: of attention; the released sizes have width / 64, 3B has 32 of 100.
        grid: tokens along height and width; 16 for 256 pixels, 24 for 384.
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.
    """

    marks = MARKS
    unused = UNUSED
    tokenizers = (LlamaGenVQ,)
    presets = PRESETS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        grid: list[int] | None = None,
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        self.num_heads = num_heads
        self.grid = grid
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
        )
        return Generator(tokenizer=tokenizer, ordering=Raster(), backbone=backbone, head=DiscreteHead(), ema_decay=0)

    def names(self, generator: Generator) -> Names:
        assert isinstance(generator.backbone, Transformer)
        return Names(llama_names(generator.backbone.num_layers))
