"""LlamaGen (arXiv 2406.06525): tokens one after the other in raster order."""

from __future__ import annotations

import dataclasses

from arlab.backbones.transformer import Transformer
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.llama_names import CLASSES, MARKS, UNUSED, llama_backbone, llama_names
from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.checkpoints.names import Names, same
from arlab.checkpoints.shapes import Shapes
from arlab.generators.caption_file import prompts_in
from arlab.generators.captions import Captions
from arlab.generators.conditioners import Conditioner
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.raster import Raster
from arlab.tokenizers.tokenizer import Tokenizer

PRESETS = {
    f"{size}_{16 * side}": {"num_heads": num_heads, "grid": [side, side]}
    for size, num_heads in {"b": 12, "l": 16, "xl": 20, "xxl": 24, "3b": 32}.items()
    for side in (16, 24)
}
WIDTHS = {
    f"{size}_{16 * side}": width
    for size, width in {"b": 768, "l": 1024, "xl": 1280, "xxl": 1536, "3b": 3200}.items()
    for side in (16, 24)
}
_TEXT = "cls_embedding.cap_proj.fc1.weight"
_NULL = "cls_embedding.uncond_embedding"
_CAPTIONS = (
    same(_TEXT, "conditioner.project.0.weight"),
    same("cls_embedding.cap_proj.fc2.weight", "conditioner.project.2.weight"),
    same(_NULL, "conditioner.unconditional"),
)


class LlamaGen(GeneratorFamily):
    """LlamaGen of classes, B to 3B, and of texts: of prompts that a file names, with their embeddings.

    Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation (LlamaGen), arXiv 2406.06525.

    Args:
        num_heads: of attention; the released sizes have width / 64, 3B has 32 of 100.
        grid: tokens along height and width; 16 for 256 pixels, 24 for 384.
        captions: of a text-conditional model the file of prompts and their embeddings; of others none.
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.
    """

    marks = MARKS
    unused = UNUSED
    tokenizers = (LlamaGenVQ,)
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        grid: list[int] | None = None,
        captions: str = "",
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        self.num_heads = num_heads
        self.grid = grid
        self.captions = captions
        self.rope_base = rope_base
        self.norm_eps = norm_eps

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return self.sides("grid", self.grid)

    def count_classes(self, shapes: Shapes) -> int:
        known = self.class_names(shapes)
        return shapes.size("cls_embedding.embedding_table.weight") - 1 if known is None else len(known)

    def class_names(self, shapes: Shapes) -> tuple[str, ...] | None:
        if _TEXT not in shapes:
            if self.captions:
                raise ValueError(f"captions: it has no tensor {_TEXT}, so it takes classes, no texts; leave them out")
            return None
        if not self.captions:
            raise ValueError(
                f"it has {_TEXT}, so it takes texts; give --set captions=FILE, prompts and their embeddings"
            )
        try:
            return prompts_in(self.captions)
        except ValueError as error:
            raise ValueError(f"captions: {error}") from error

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        backbone = llama_backbone(
            shapes,
            num_heads=self.need(self.num_heads),
            rope_base=self.rope_base,
            norm_eps=self.norm_eps,
        )
        conditioner, facts = self._conditioner(shapes), tokenizer.facts
        if isinstance(conditioner, Captions):
            facts = dataclasses.replace(facts, class_names=conditioner.prompts)
        return Generator(
            tokenizer=tokenizer,
            ordering=Raster(),
            backbone=backbone,
            head=DiscreteHead(),
            conditioner=conditioner,
            ema_decay=0,
            facts=facts,
        )

    def names(self, generator: Generator) -> Names:
        assert isinstance(generator.backbone, Transformer)
        condition = _CAPTIONS if isinstance(generator.conditioner, Captions) else CLASSES
        return Names(llama_names(generator.backbone.num_layers, condition))

    def _conditioner(self, shapes: Shapes) -> Conditioner | None:
        """That of texts, where it takes them."""
        if _TEXT not in shapes:
            return None
        expected = shapes.axes(_NULL, 2)
        try:
            made = Captions(file=self.captions)
        except ValueError as error:
            raise ValueError(f"captions: {str(error).removeprefix('conditioner.file: ')}") from error
        if (made.num_slots, made.text_width) != expected:
            raise ValueError(
                f"captions: {self.captions}: has {made.num_slots} tokens a prompt, {made.text_width} numbers a token; "
                f"the model takes {expected[0]} of {expected[1]}"
            )
        return made
