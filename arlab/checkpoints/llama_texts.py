"""What LlamaGen and NAR share: models of texts beside those of classes."""

from __future__ import annotations

from collections.abc import Iterable

from arlab.checkpoints.llama_family import LlamaFamily
from arlab.checkpoints.names import Rule, same
from arlab.checkpoints.shapes import Shapes
from arlab.generators.caption_file import prompts_in
from arlab.generators.captions import Captions
from arlab.generators.conditioners import Conditioner
from arlab.generators.generator import Generator

_TEXT = "cls_embedding.cap_proj.fc1.weight"
_NULL = "cls_embedding.uncond_embedding"
_CAPTIONS = (
    same(_TEXT, "conditioner.project.0.weight"),
    same("cls_embedding.cap_proj.fc2.weight", "conditioner.project.2.weight"),
    same(_NULL, "conditioner.unconditional"),
)


class LlamaTexts(LlamaFamily):
    """Generators with LlamaGen's backbone, of classes or of prompts that a file names, with their embeddings.

    Args:
        num_heads: of attention.
        grid: tokens along height and width.
        captions: of a text-conditional model the file of prompts and their embeddings; of others none.
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.
    """

    def __init__(
        self, *, num_heads: int | None, grid: list[int] | None, captions: str, rope_base: float, norm_eps: float
    ) -> None:
        super().__init__(num_heads=num_heads, grid=grid, rope_base=rope_base, norm_eps=norm_eps)
        self.captions = captions

    def takes_texts(self, shapes: Shapes) -> bool:
        """Whether its conditions are texts."""
        return _TEXT in shapes

    def count_classes(self, shapes: Shapes) -> int:
        known = self.class_names(shapes)
        return super().count_classes(shapes) if known is None else len(known)

    def class_names(self, shapes: Shapes) -> tuple[str, ...] | None:
        if not self.takes_texts(shapes):
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

    def conditioner(self, shapes: Shapes) -> Conditioner | None:
        if not self.takes_texts(shapes):
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

    def condition(self, generator: Generator) -> Iterable[Rule]:
        return _CAPTIONS if isinstance(generator.conditioner, Captions) else super().condition(generator)
