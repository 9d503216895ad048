"""FlexVAR (arXiv 2502.20313): scale by scale, each a whole image, on schedules of scales drawn while training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from arlab.backbones.resized_places import ResizedPlaces
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.flexvar_vq import FlexVARVQ
from arlab.checkpoints.names import Names, leading
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.var_backbone import var_backbone
from arlab.checkpoints.var_names import MARKS, UNUSED, var_names
from arlab.checkpoints.var_scales import SCALES_256, finest_of, scales_of, told_scales
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.level_inputs import Previous
from arlab.orderings.next_scale import NextScale
from arlab.orderings.scale_schedules import RandomScales
from arlab.ranges import require
from arlab.tokenizers.tokenizer import Tokenizer

PRESETS = {f"d{depth}": {"patch_nums": SCALES_256} for depth in (16, 20, 24)}
WIDTHS = {name: 64 * int(name[1:]) for name in PRESETS}


class FlexVAR(GeneratorFamily):
    """Class-conditional FlexVAR, depth 16 to 24.

    FlexVAR: Flexible Visual Autoregressive Modeling without Residual Prediction, arXiv 2502.20313.

    Args:
        patch_nums: the scales to sample by default, coarse to fine: sides, or [height, width] of a grid; any will do.
        num_heads: of attention; 0: as the tensors tell, or one for each 64 of the width where they do not.
        norm_eps: added to variances.
    """

    marks = MARKS
    entries = ("trainer.var_wo_ddp", *GeneratorFamily.entries)
    unused = UNUSED
    tokenizers = (FlexVARVQ,)
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self, *, patch_nums: list[int | list[int]] | None = None, num_heads: int = 0, norm_eps: float = 1e-6
    ) -> None:
        require("norm_eps", norm_eps, at_least=0)
        self.patch_nums = patch_nums
        self.num_heads = num_heads
        self.norm_eps = norm_eps

    def informed(self, args: Mapping[str, object]) -> Self:
        return told_scales(self, args)

    def token_grid(self, shapes: Shapes) -> tuple[int, int]:
        return finest_of(scales_of(self.need(self.patch_nums)))

    def count_classes(self, shapes: Shapes) -> int:
        return shapes.size("class_emb.weight") - 1

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        places = shapes["pos_1LC"]
        if len(places) != 4 or places[-1] != places[-2]:
            raise ValueError(f"its pos_1LC is of shape {places}, expected (1, width, side, side); VAR's has three axes")
        backbone = var_backbone(
            shapes, num_heads=self.num_heads, norm_eps=self.norm_eps, places=[ResizedPlaces(size=places[-1])]
        )
        return Generator(
            tokenizer=tokenizer,
            ordering=NextScale(patch_nums=self.patch_nums, level_input=Previous(), schedule=RandomScales()),
            backbone=backbone,
            head=DiscreteHead(bias=True),
            ema_decay=0,
        )

    def names(self, generator: Generator) -> Names:
        places = leading("pos_1LC", "backbone.places.0.map"), leading("pos_start", "backbone.places.0.table")
        return Names([*var_names(generator), *places])
