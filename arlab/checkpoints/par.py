"""PAR (arXiv 2412.15119): LlamaGen's backbone on the regions of a grid at once, learned vectors in between."""

from __future__ import annotations

from arlab.backbones.transformer import Transformer
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.llama_names import MARKS, UNUSED, llama_backbone, llama_names
from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.checkpoints.names import Names, same
from arlab.checkpoints.shapes import Shapes, square
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.region_parallel import RegionParallel
from arlab.tokenizers.tokenizer import Tokenizer

_SPECIAL = "spe_tok_embeddings.special_embeddings.weight"
# 3B comes with 4 regions and with 16; the tensors tell which.
PRESETS = {
    f"{size}_384": {"num_heads": num_heads, "grid": [24, 24]}
    for size, num_heads in {"xl_4x": 20, "xxl_4x": 24, "3b_4x": 32, "3b_16x": 32}.items()
}
WIDTHS = {"xl_4x_384": 1280, "xxl_4x_384": 1536, "3b_4x_384": 3200, "3b_16x_384": 3200}


class PAR(GeneratorFamily):
    """Class-conditional PAR, XL to 3B, 4 or 16 tokens at a time.

    Parallelized Autoregressive Visual Generation (PAR), arXiv 2412.15119.

    Args:
        num_heads: of attention; the released sizes have width / 64, 3B has 32 of 100.
        grid: tokens along height and width; 24 for 384 pixels.
        regions: along height and width; by default as many along the one as along the other, as published: the
            number of learned vectors is one less than that of regions.
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.
    """

    marks = (*MARKS, _SPECIAL)
    unused = UNUSED
    tokenizers = (LlamaGenVQ,)
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        grid: list[int] | None = None,
        regions: tuple[int, ...] = (),
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        self.num_heads = num_heads
        self.grid = grid
        self.regions = regions
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
        regions = self.regions or square(shapes.size(_SPECIAL) + 1, "regions, to be given as regions=[high,wide]")
        ordering = RegionParallel(regions=regions)
        return Generator(tokenizer=tokenizer, ordering=ordering, backbone=backbone, head=DiscreteHead(), ema_decay=0)

    def names(self, generator: Generator) -> Names:
        assert isinstance(generator.backbone, Transformer)
        special = same(_SPECIAL, "slot_embedding.learned_RD")
        return Names([*llama_names(generator.backbone.num_layers), special])
