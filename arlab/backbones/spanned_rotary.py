"""Rotary positions over a span of their own: every level reaches as far, however many cells it has.

Letters: S slots, A axes.
"""

from __future__ import annotations

import torch

from arlab.backbones.rotary import AxialRotary, Nowhere
from arlab.orderings.step import Layout, Slots
from arlab.ranges import require
from arlab.rotation import Rotation, angles, rotation


class SpannedRotary(AxialRotary):
    """``AxialRotary`` in other units: cell i of n on the longest axis stands at i / n · span, on every level.

    On a grid whose longest side is ``span`` it is ``AxialRotary`` (FlowAR's 16 x 16 vectors); on others places are
    denser or sparser, as far as before from one edge to the other.

    FlowAR: Scale-wise Autoregressive Image Generation Meets Flow Matching, arXiv 2412.15205.

    Args:
        span: how far the places of a level reach along its longest axis.
        base: the slowest pair turns about 1 / base radians a unit.
        nowhere: what happens to condition slots.
    """

    def __init__(self, *, span: float = 16.0, base: float = 10000.0, nowhere: Nowhere | None = None) -> None:
        super().__init__(base=base, nowhere=nowhere)
        require("backbone.rotary.span", span, above=0, at_most=10000)
        self.span = span

    def rotation(
        self,
        rows: Slots,
        layout: Layout,
        head_width: int,
        num_condition: int,
        finest: tuple[int, ...] | None = None,
    ) -> Rotation | None:
        place_NA = layout.place_NA.to(rows.at.device) * (self.span / max(layout.finest))
        stands = rows.at >= 0
        nowhere_SA = self.nowhere.coordinate(rows, num_condition)[..., None].to(place_NA.dtype)
        place_SA = torch.where(stands[..., None], place_NA[rows.at.clamp(min=0)], nowhere_SA)
        magnitude = torch.where(stands, 1.0, self.nowhere.magnitude)[..., None]
        return rotation(angles(place_SA, head_width, self.base), magnitude)
