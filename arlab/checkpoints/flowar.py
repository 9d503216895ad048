"""FlowAR (arXiv 2412.15205): scale after scale of continuous tokens, each scale a flow over all of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from torch import Tensor

from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.rotary import IdentityRotation
from arlab.backbones.spanned_rotary import SpannedRotary
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.flowar_names import flow_names
from arlab.checkpoints.gated_backbone import gated_backbone, gated_stage_names, rotary_heads
from arlab.checkpoints.gated_tables import TABLES, refuse_frequencies, refuse_mask
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.checkpoints.mar_names import of_tokens
from arlab.checkpoints.mar_shapes import copies, linear, refuse_other_vectors, refuse_patches
from arlab.checkpoints.names import BOTH, Names, renamed, same
from arlab.checkpoints.shapes import Shapes
from arlab.generators.generator import Generator
from arlab.heads.flow import FlowHead
from arlab.heads.step_blocks import CrossBlock, ModulatedBlock
from arlab.heads.step_transformer import StepTransformer
from arlab.heads.time_grids import EvenTimes, TimeGrid
from arlab.heads.two_pace_times import TwoPaceTimes
from arlab.orderings.next_scale import NextScale
from arlab.pyramids.grids import check_sides, layout_of
from arlab.ranges import require
from arlab.tokenizers.tokenizer import Tokenizer

_SCALES = [1, 2, 4, 8, 16]
# The one number of steps that are all of a length.
_EVEN = 50
WIDTHS = {"s": 768, "l": 1024, "h": 1536}
PRESETS = {
    "s": {"scales": _SCALES, "num_heads": 12},
    "l": {"scales": _SCALES, "num_heads": 16},
    "h": {"scales": _SCALES, "num_heads": 16, "num_steps": _EVEN, "guided_until": 0.7},
}
_MOST_STEPS = 10000
_HEAD_WIDTH = 64
# Of rotary positions, its ``theta``; here as there no option.
_BASE = 10000.0
_TABLES = {"encoder": "encoder_places", "decoder": "decoder_places", "diffusion": "out_places"}


class FlowAR(GeneratorFamily):
    """FlowAR-S, whose flow is modulated, and -L and -H, whose flow attends to the backbone.

    FlowAR: Scale-wise Autoregressive Image Generation Meets Flow Matching, arXiv 2412.15205.

    Args:
        scales: the grids of the scales, as NextScale's patch_nums; the last is that of the tokenizer.
        num_heads: of the backbone's attention; 0: as the tables of rotary positions tell.
        flow_heads: of the flow's; 0: as these tell, or of 64 channels each.
        num_steps: in how many steps a scale is drawn, an even number; 50 are of a length, of others half come late and
            are smaller. What the published code calls 25 are 24.
        guided_until: the latest time that is guided.
        truncate_time: whether it was trained on 1000 t rounded down.
        rope_span: how far the places of every scale reach.
    """

    marks = ("flownet.input_proj.weight", "diffusion_pos_embed_learned", "encoder_blocks.0.ada_lin.1.weight")
    unused = TABLES
    tokenizers = (LDMKL,)
    # Sampled from the averaged weights.
    entries = ("model_ema", *GeneratorFamily.entries)
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        scales: list[int | list[int]] | None = None,
        num_heads: int = 0,
        flow_heads: int = 0,
        num_steps: int = 24,
        guided_until: float = 0.9,
        truncate_time: bool = True,
        rope_span: float = 16.0,
    ) -> None:
        check_sides(scales, "scales")
        require("num_heads", num_heads, at_least=0)
        require("flow_heads", flow_heads, at_least=0)
        require("guided_until", guided_until, at_least=0, at_most=1)
        require("rope_span", rope_span, above=0, at_most=10000)
        if num_steps % 2 or not 4 <= num_steps <= _MOST_STEPS:
            raise ValueError(
                f"num_steps: must be an even number from 4 to {_MOST_STEPS}, got {num_steps}; the published code's 25 "
                "are 24 steps"
            )
        self.scales = scales
        self.num_heads = num_heads
        self.flow_heads = flow_heads
        self.num_steps = num_steps
        self.guided_until = guided_until
        self.truncate_time = truncate_time
        self.rope_span = rope_span

    def informed(self, args: Mapping[str, object]) -> Self:
        refuse_patches(args)
        return self

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        scales = self.need(self.scales)
        grid = self.sides("scales", [scales[-1]] * 2 if isinstance(scales[-1], int) else scales[-1])
        expected, got = shapes.size("diffusion_pos_embed_learned", 1), layout_of(scales, grid, "scales").num_tokens
        if got != expected:
            raise ValueError(f"scales: diffusion_pos_embed_learned is of {expected} places, {scales} have {got}")
        return grid

    def count_classes(self, shapes: Shapes) -> int:
        return linear(shapes, "class_emb")[0] - 1

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        refuse_other_vectors(shapes, tokenizer)
        if copies(shapes):
            raise ValueError(f"buffer_size: only files of buffer_size 0 can be imported, got {copies(shapes)}")
        rotary = SpannedRotary(span=self.rope_span, nowhere=IdentityRotation())
        return Generator(
            tokenizer=tokenizer,
            ordering=NextScale(patch_nums=list(self.need(self.scales))),
            backbone=gated_backbone(shapes, num_heads=self.num_heads, rotary=rotary),
            head=FlowHead(denoiser=self._flow(shapes), times=self._times(), guided_until=self.guided_until),
            ema_decay=0,
        )

    def _flow(self, shapes: Shapes) -> StepTransformer:
        width, _ = linear(shapes, "flownet.input_proj")
        block = "flownet.res_blocks.0"
        return StepTransformer(
            width=width,
            num_blocks=shapes.count("flownet.res_blocks.{}.attn.qkv.weight"),
            num_heads=rotary_heads(shapes, block, width, "flow_heads", self.flow_heads, width // _HEAD_WIDTH),
            block=CrossBlock() if f"{block}.crossattn.q.weight" in shapes else ModulatedBlock(),
            truncate_time=self.truncate_time,
            span=self.rope_span,
        )

    def _times(self) -> TimeGrid:
        if self.num_steps == _EVEN:
            return EvenTimes(num_steps=_EVEN)
        # Times, one more than steps.
        return TwoPaceTimes(num_early=self.num_steps // 2, num_late=self.num_steps // 2 + 1)

    def names(self, generator: Generator) -> Names:
        backbone, head = generator.backbone, generator.head
        assert isinstance(backbone, EncoderDecoder)
        assert isinstance(head, FlowHead)
        assert isinstance(head.denoiser, StepTransformer)
        slots = generator.conditioner.num_slots
        return Names(
            [
                *gated_stage_names(backbone),
                *renamed({"z_proj": "slot_embedding.computed"}, BOTH),
                *flow_names(head.denoiser),
                *(
                    of_tokens(f"{theirs}_pos_embed_learned", f"backbone.{ours}.0.table", slots)
                    for theirs, ours in _TABLES.items()
                ),
                same("class_emb.weight", "conditioner.embedding.weight"),
            ]
        )

    def refuse_tables(self, generator: Generator, tensors: Mapping[str, Tensor]) -> None:
        backbone, head = generator.backbone, generator.head
        assert isinstance(backbone, EncoderDecoder)
        assert isinstance(head, FlowHead)
        assert isinstance(head.denoiser, StepTransformer)
        flow = head.denoiser
        heads = {
            "encoder_blocks.": (backbone.attention.head_width(backbone.width), "num_heads"),
            "decoder_blocks.": (backbone.attention.head_width(backbone.width), "num_heads"),
            "flownet.": (flow.width // flow.num_heads, "flow_heads"),
        }
        for stage, (head_width, key) in heads.items():
            refuse_frequencies(tensors, stage, head_width=head_width, base=_BASE, heads_key=key, base_key="theta")
        refuse_mask(tensors, generator.layout.sizes, "scales", self.scales)
