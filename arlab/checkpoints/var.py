"""VAR (arXiv 2404.02905): scale by scale, each the residual of those before."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from arlab.backbones.places import LearnedPlaces, LevelPlaces
from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.names import Names, Rule, Tensors, same
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.var_backbone import var_backbone
from arlab.checkpoints.var_names import MARKS, UNUSED, var_names
from arlab.checkpoints.var_scales import SCALES_256, SCALES_512, finest_of, scales_of, told_scales
from arlab.checkpoints.var_vq import VARVQ
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.next_scale import NextScale
from arlab.orderings.step import Layout
from arlab.ranges import require
from arlab.tokenizers.tokenizer import Tokenizer

PRESETS = {
    **{f"d{depth}_256": {"patch_nums": SCALES_256} for depth in (16, 20, 24, 30)},
    "d36_512": {"patch_nums": SCALES_512},
}
WIDTHS = {name: 64 * int(name[1:3]) for name in PRESETS}


class VAR(GeneratorFamily):
    """Class-conditional VAR, depth 16 to 36.

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905.

    Args:
        patch_nums: the scales, coarse to fine: sides, or [height, width] of a grid.
        num_heads: of attention; 0: as the tensors tell, or one for each 64 of the width where they do not.
        norm_eps: added to variances.
    """

    marks = (*MARKS, "lvl_embed.weight")
    entries = ("trainer.var_wo_ddp", *GeneratorFamily.entries)
    unused = UNUSED
    tokenizers = (VARVQ,)
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
        return finest_of(self._scales(shapes))

    def count_classes(self, shapes: Shapes) -> int:
        return shapes.size("class_emb.weight") - 1

    def generator(self, shapes: Shapes, tokenizer: Tokenizer) -> Generator:
        layout = self._scales(shapes)
        if tokenizer.layout != layout:
            raise ValueError(f"patch_nums: the scales {layout} are not the tokenizer's, {tokenizer.layout}")
        backbone = var_backbone(
            shapes, num_heads=self.num_heads, norm_eps=self.norm_eps, places=[LearnedPlaces(), LevelPlaces()]
        )
        return Generator(
            tokenizer=tokenizer, ordering=NextScale(), backbone=backbone, head=DiscreteHead(bias=True), ema_decay=0
        )

    def names(self, generator: Generator) -> Names:
        places = _places(generator.layout, generator.conditioner.num_slots)
        return Names([*var_names(generator), places, same("lvl_embed.weight", "backbone.places.1.table")])

    def refuse_tables(self, generator: Generator, tensors: Mapping[str, Tensor]) -> None:
        """Of which scale each place is stands beside the weights."""
        if "lvl_1L" not in tensors:
            return
        given, told_L = list(generator.layout.sizes), tensors["lvl_1L"].flatten().tolist()
        if told_L != [level for level, size in enumerate(given) for _ in range(size)]:
            told = [len(list(places)) for _, places in itertools.groupby(told_L)]
            raise ValueError(f"patch_nums: by its lvl_1L its scales are of {told} places, got scales of {given}")

    def _scales(self, shapes: Shapes) -> Layout:
        """The scales, seen to be as many, of as many places, as there are tensors for."""
        layout = scales_of(self.need(self.patch_nums))
        told = shapes.size("lvl_embed.weight"), shapes.size("pos_1LC", 1)
        given = len(layout.shapes), layout.num_tokens
        if told != given:
            raise ValueError(
                f"patch_nums: {given[0]} scales of {given[1]} places in all were given, its lvl_embed.weight and "
                f"pos_1LC are of {told[0]} and {told[1]}"
            )
        return layout


def _places(layout: Layout, num_condition: int) -> Rule:
    """What the first scale adds to its condition stands on its places only, so it is added to their vectors.

    Condition slots that stand nowhere have rows of their own here, which nothing uses.
    """
    num_tokens, first = layout.num_tokens, layout.sizes[0]

    def own(places_1LC: Tensor, start_1lC: Tensor) -> Tensors:
        table = torch.cat((places_1LC[0].float(), places_1LC.new_zeros(num_condition, places_1LC.shape[-1]).float()))
        table[:first] += start_1lC[0]
        return (table,)

    def published(table: Tensor) -> Tensors:
        return table[None, :num_tokens], torch.zeros_like(table[None, :first])

    return Rule(("pos_1LC", "pos_start"), ("backbone.places.0.table",), own, published)
