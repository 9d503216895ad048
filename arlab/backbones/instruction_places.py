"""Instruction places: one learned vector, rotated by the place of the slot that carries it.

Letters: H heads, E width of a head, S slots, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arlab.backbones.places import Places, PlacesModule, trained_slots
from arlab.backbones.rotary import AxialRotary
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Kind, Layout, Slots
from arlab.ranges import require


class InstructionPlaces(Places):
    """LEARNED slots that stand on a place get one shared vector (H, E), each head rotated by that place; others zero.

    It serves any layout, since a place has no weight of its own. The rotation is that of ``AxialRotary``; with as many
    heads as the attention it is the one that queries and keys get.

    RandAR: Decoder-only Autoregressive Visual Generation in Random Orders, arXiv 2412.01827.

    Args:
        num_heads: H; must divide the width.
        base: of the rotation; the slowest pair of channels turns about 1 / base radians a token.
    """

    any_layout = True

    def __init__(self, *, num_heads: int = 4, base: float = 10000.0) -> None:
        require("backbone.places.num_heads", num_heads, at_least=1)
        require("backbone.places.base", base, above=0)
        self.num_heads = num_heads
        self.base = base
        self.rotary = AxialRotary(base=base)

    def refuse(self, ordering: Ordering, layout: Layout) -> None:
        fed = trained_slots(ordering, layout)
        if not bool(((fed.kind == Kind.LEARNED) & (fed.at >= 0)).any()):
            raise ValueError(
                f"backbone.places: {type(ordering).__name__} puts no learned slot on a place, so InstructionPlaces "
                "would have no effect; choose LearnedPlaces, or the ordering RandomInstructed"
            )

    def build(self, width: int, layout: Layout, num_condition: int) -> PlacesModule:
        if width % self.num_heads:
            raise ValueError(f"backbone.places.num_heads: {self.num_heads} heads do not divide a width of {width}")
        channels, axes = width // self.num_heads, layout.num_axes
        if channels % 2 or channels < 2 * axes:
            raise ValueError(
                f"backbone.places.num_heads: {self.num_heads} heads of a width of {width} have {channels} channels "
                f"each, expected an even number, at least {2 * axes}, a pair for each axis"
            )
        return _Instruction(width, layout, self)


class _Instruction(PlacesModule):
    def __init__(self, width: int, layout: Layout, recipe: InstructionPlaces) -> None:
        super().__init__()
        # One unit of places for all layouts, as that of the attention's rotation.
        self.finest = layout.finest
        self.num_heads = recipe.num_heads
        self.rotary = recipe.rotary
        self.table = nn.Parameter(torch.zeros(1, width))

    def forward(self, rows: Slots, layout: Layout) -> Tensor:
        heads_H1E = self.table[0].unflatten(-1, (self.num_heads, 1, -1))
        rotation = self.rotary.rotation(rows, layout, heads_H1E.shape[-1], 0, self.finest)
        assert rotation is not None
        rotated_HSE = rotation(heads_H1E.expand(-1, len(rows), -1))
        return rotated_HSE.transpose(-3, -2).flatten(-2) * (rows.kind == Kind.LEARNED)[:, None]

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}"
