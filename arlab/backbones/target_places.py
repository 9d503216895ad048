"""Target places: what tells a slot which token it is about to predict.

Letters: S slots, D width, N tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arlab.backbones.places import Places, PlacesModule, trained_slots
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout, Slots


class TargetPlaces(Places):
    """One learned vector per token, added to the slot that is about to predict it; others get zero.

    For orderings that tell slots their targets (``Slots.target``), as ``RandomCausal`` does; beside ``LearnedPlaces``,
    which tell where a slot stands.

    Randomized Autoregressive Visual Generation (RAR), arXiv 2411.00776.
    """

    reads_targets = True

    def __init__(self) -> None:
        pass

    def refuse(self, ordering: Ordering, layout: Layout) -> None:
        if trained_slots(ordering, layout).target is None:
            raise ValueError(
                f"backbone.places: {type(ordering).__name__} tells no slot its target, so TargetPlaces would have no "
                "effect; choose LearnedPlaces, or the ordering RandomCausal"
            )

    def build(self, width: int, layout: Layout, num_condition: int) -> PlacesModule:
        return _Target(width, layout)


class _Target(PlacesModule):
    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.table = nn.Parameter(torch.zeros(layout.num_tokens, width))

    def forward(self, rows: Slots, layout: Layout) -> Tensor:
        if layout != self.layout:
            raise ValueError(f"backbone.places: TargetPlaces knows the tokens of {self.layout} only, got {layout}")
        assert rows.target is not None, "refused at configuration time"
        return self.table[rows.target.clamp(min=0)] * (rows.target >= 0)[..., None]
