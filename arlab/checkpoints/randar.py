"""RandAR (arXiv 2412.01827): LlamaGen's backbone in random orders, each token asked for by an instruction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import torch

from arlab.backbones.instruction_places import InstructionPlaces
from arlab.backbones.places import Places
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.family import MOST_TOKENS
from arlab.checkpoints.llama_family import LlamaFamily
from arlab.checkpoints.llama_names import MARKS
from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.checkpoints.maskgit_vq import MaskGITVQ
from arlab.checkpoints.names import Rule, constant, same
from arlab.checkpoints.shapes import Shapes
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.set_sizes import CosineSizes
from arlab.ranges import require

_INSTRUCTION = "pos_instruct_embeddings"
_SIZES = {"l": (16, 1024), "xl": (20, 1280)}
"""Heads and width."""
PRESETS = {size: {"num_heads": num_heads, "grid": [16, 16]} for size, (num_heads, _) in _SIZES.items()}
WIDTHS = {size: width for size, (_, width) in _SIZES.items()}


class RandAR(LlamaFamily):
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
        super().__init__(num_heads=num_heads, grid=grid, rope_base=rope_base, norm_eps=norm_eps)
        require("num_steps", num_steps, at_least=1, at_most=MOST_TOKENS)
        self.num_steps = num_steps

    def ordering(self, shapes: Shapes) -> RandomInstructed:
        return RandomInstructed(set_sizes=CosineSizes(num_steps=self.num_steps))

    def places(self) -> Sequence[Places]:
        return [InstructionPlaces(num_heads=self.need(self.num_heads), base=self.rope_base)]

    def rules(self, backbone: Transformer) -> Iterable[Rule]:
        # An instruction is published as its place alone; the ordering's vector, which does not turn, adds nothing.
        still = constant("slot_embedding.learned_RD", partial(torch.zeros, 1, backbone.width))
        return same(_INSTRUCTION, "backbone.places.0.table"), still
