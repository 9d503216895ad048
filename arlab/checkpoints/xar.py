"""xAR (arXiv 2502.20388): cells of an image one after the other, each a flow behind noised cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.rotary import AxialRotary
from arlab.checkpoints.family import MOST_TOKENS, GeneratorFamily
from arlab.checkpoints.gated_backbone import gated_backbone, gated_stage_names
from arlab.checkpoints.gated_tables import TABLES, refuse_frequencies, refuse_mask, refuse_turns
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.checkpoints.mar_names import TIME
from arlab.checkpoints.mar_shapes import linear, refuse_other_vectors, refuse_patches
from arlab.checkpoints.names import BOTH, Names, permuted, renamed, same
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import grid_of
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.euler_maruyama import EulerMaruyama
from arlab.heads.even_then_last import EvenThenLast
from arlab.heads.flow import FlowHead
from arlab.heads.time_draws import LogitNormalTime
from arlab.orderings.entities import Cells
from arlab.orderings.next_x import NextX
from arlab.ranges import require
from arlab.rotation import angles
from arlab.tokenizers.tokenizer import Tokenizer

_MOST_STEPS = 10000

WIDTHS = {"b": 768, "l": 1024, "h": 1280}
PRESETS = {
    size: {"num_heads": heads, "num_steps": steps}
    for size, (heads, steps) in {"b": (12, 40), "l": (16, 50), "h": (16, 50)}.items()
}


class XAR(GeneratorFamily):
    """xAR-B, -L and -H, of cells.

    Beyond Next-Token: Next-X Prediction for Autoregressive Visual Generation (xAR), arXiv 2502.20388.

    Args:
        num_heads: of attention; 0: as the tables of rotary positions tell.
        cells: into how many cells an image is cut along each axis.
        num_steps: in how many steps a cell is drawn.
        rope_base: base of the rotary positions.
        truncate_time: whether it was trained on 1000 t rounded down.
        rows: tokens along the height, where they are no square; 0: they are.
    """

    marks = ("pred.weight", "time_embed.mlp.0.weight", "encoder_blocks.0.ada_lin.1.weight")
    unused = TABLES
    tokenizers = (LDMKL,)
    # Sampled from the averaged weights.
    entries = ("model_ema", *GeneratorFamily.entries)
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        num_heads: int = 0,
        cells: int = 2,
        num_steps: int = 50,
        rope_base: float = 10000.0,
        truncate_time: bool = True,
        rows: int = 0,
    ) -> None:
        require("num_heads", num_heads, at_least=0)
        require("cells", cells, at_least=1, at_most=MOST_TOKENS)
        require("num_steps", num_steps, at_least=1, at_most=_MOST_STEPS)
        require("rope_base", rope_base, above=0)
        self.num_heads = num_heads
        self.cells = cells
        self.num_steps = num_steps
        self.rope_base = rope_base
        self.truncate_time = truncate_time
        self.rows = rows

    def informed(self, args: Mapping[str, object]) -> Self:
        refuse_patches(args)
        return self

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return grid_of(shapes.size("encoder_pos_embed_learned", 1), self.rows)

    def count_classes(self, shapes: Shapes) -> int:
        return linear(shapes, "class_emb")[0] - 1

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        refuse_other_vectors(shapes, tokenizer)
        return Generator(
            tokenizer=tokenizer,
            ordering=NextX(entities=Cells(count=self.cells)),
            backbone=gated_backbone(
                shapes, num_heads=self.num_heads, rotary=AxialRotary(base=self.rope_base), out_places=[]
            ),
            head=FlowHead(
                denoiser=BackboneDenoiser(truncate_time=self.truncate_time, zero_init=False),
                time_draw=LogitNormalTime(),
                solver=EulerMaruyama(),
                times=EvenThenLast(num_steps=self.num_steps),
            ),
            conditioner=ClassLabel(num_slots=0),
            ema_decay=0,
        )

    def names(self, generator: Generator) -> Names:
        backbone, ordering = generator.backbone, generator.ordering
        assert isinstance(backbone, EncoderDecoder)
        assert isinstance(ordering, NextX)
        outside = {"z_proj": "head.input", "pred": "head.denoiser.outputs.0"}
        outside |= {theirs: f"head.denoiser.{ours}" for theirs, ours in TIME.items()}
        # Published cell after cell.
        place = torch.cat(ordering.split(generator.layout)).argsort()
        return Names(
            [
                *gated_stage_names(backbone),
                *renamed(outside, BOTH),
                permuted("encoder_pos_embed_learned", "backbone.encoder_places.0.table", place),
                permuted("decoder_pos_embed_learned", "backbone.decoder_places.0.table", place),
                same("class_emb.weight", "conditioner.embedding.weight"),
            ]
        )

    def refuse_tables(self, generator: Generator, tensors: Mapping[str, Tensor]) -> None:
        backbone, ordering = generator.backbone, generator.ordering
        assert isinstance(backbone, EncoderDecoder)
        assert isinstance(ordering, NextX)
        head_width, cells = backbone.attention.head_width(backbone.width), ordering.split(generator.layout)
        for stage in ("encoder_blocks.", "decoder_blocks."):
            refuse_frequencies(
                tensors,
                stage,
                head_width=head_width,
                base=self.rope_base,
                heads_key="num_heads",
                base_key="rope_base",
            )
        refuse_mask(tensors, [len(cell) for cell in cells], "cells", self.cells)
        angle_NP = angles(generator.layout.place_NA, head_width, self.rope_base)[torch.cat(cells)]
        height, width = generator.layout.finest
        refuse_turns(tensors, angle_NP, "rows", f"a grid of {height} x {width} in {self.cells} cells along each axis")
