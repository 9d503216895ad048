"""What backbones of modulated blocks share: the condition goes to every block and behind the last norm.

Letters: B batch, S slots fed, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from arlab.backbones.backbone import Backbone
from arlab.backbones.modulation import Modulated, Modulation, ModulationModule
from arlab.backbones.places import Places, refuse_places
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout, Slots


class BlockStack(Backbone):
    """A backbone that passes the condition to a ``Modulation`` and adds tables of places.

    Attributes:
        modulation: how the condition reaches the blocks.
        conditioning: what it built, once bound.
        places_recipes: the tables added to the input.
    """

    modulation: Modulation
    conditioning: ModulationModule
    places_recipes: Sequence[Places]

    @property
    def all_places(self) -> Sequence[Places]:
        """Every table of places, wherever it is added."""
        return self.places_recipes

    @property
    def any_layout(self) -> bool:
        return all(places.any_layout for places in self.all_places)

    @property
    def modulates(self) -> bool:
        return self.modulation.active

    @property
    def modulates_by_row(self) -> bool:
        return self.modulation.by_row

    def refuse(self, ordering: Ordering, layout: Layout) -> None:
        self.modulation.refuse(ordering, layout)
        refuse_places(self.all_places, ordering, layout)

    def modulate(self, condition_BSD: Tensor, rows: Slots | None = None) -> Modulated:
        modulated: Modulated = self.conditioning(condition_BSD, rows)
        return modulated

    def leave(self, norm: nn.Module, h_BSD: Tensor, modulated: Modulated) -> Tensor:
        """What leaves by a way: the norm, scaled and shifted by the condition where it is modulated."""
        out_BSD: Tensor = norm(h_BSD)
        if modulated.final is None:
            return out_BSD
        scale, shift = modulated.final
        return out_BSD * (1 + scale) + shift
