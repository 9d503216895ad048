"""RandAR (arXiv 2412.01827): LlamaGen's backbone in random orders, each token asked for by an instruction."""

from __future__ import annotations

from functools import partial

import torch

from arlab.backbones.instruction_places import InstructionPlaces
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.llama_names import MARKS, UNUSED, llama_backbone, llama_names
from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.checkpoints.maskgit_vq import MaskGITVQ
from arlab.checkpoints.names import Names, constant, same
from arlab.checkpoints.shapes import Shapes
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.set_sizes import CosineSizes
from arlab.tokenizers.tokenizer import Tokenizer

_INSTRUCTION = "pos_instruct_embeddings"
PRESETS = {size: {"num_heads": num_heads, "grid": [16, 16]} for size, num_heads in {"l": 16, "xl": 20}.items()}
WIDTHS = {"l": 1024, "xl": 1280}


class RandAR(GeneratorFamily):
    """Class-conditional RandAR, L and XL.

    RandAR: Decoder-only Autoregressive Visual Generation in Random Orders, arXiv 2412.01827.

    Args:
        num_heads: of attention; the released sizes have width / 64.
        grid: tokens along height and width.
        num_steps: of decoding; as many tokens in each as the cosine of the share of steps says.
        rope_base: base of the rotary positions, of slots and of instructions.
        norm_eps: added to mean squares.
    """

    marks = (*MARKS, _INSTRUCTION)
    unused = UNUSED
    tokenizers = (LlamaGenVQ, MaskGITVQ)
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        grid: list[int] | None = None,
        num_steps: int = 88,
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        self.num_heads = num_heads
        self.grid = grid
        self.num_steps = num_steps
        self.rope_base = rope_base
        self.norm_eps = norm_eps

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return self.sides("grid", self.grid)

    def count_classes(self, shapes: Shapes) -> int:
        return shapes.size("cls_embedding.embedding_table.weight") - 1

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        num_heads = self.need(self.num_heads)
        backbone = llama_backbone(
            shapes,
            num_heads=num_heads,
            rope_base=self.rope_base,
            norm_eps=self.norm_eps,
            places=[InstructionPlaces(num_heads=num_heads, base=self.rope_base)],
        )
        ordering = RandomInstructed(set_sizes=CosineSizes(num_steps=self.num_steps))
        return Generator(tokenizer=tokenizer, ordering=ordering, backbone=backbone, head=DiscreteHead(), ema_decay=0)

    def names(self, generator: Generator) -> Names:
        assert isinstance(generator.backbone, Transformer)
        # An instruction is published as its place alone; the ordering's vector, which does not turn, adds nothing.
        still = constant("slot_embedding.learned_RD", partial(torch.zeros, 1, generator.backbone.width))
        instruction = same(_INSTRUCTION, "backbone.places.0.table")
        return Names([*llama_names(generator.backbone.num_layers), instruction, still])
