"""Place embeddings: learned tables keyed by slot columns, added to the input.

Letters: B batch, N tokens, P condition slots, S slots, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from arlab.configurable import Configurable
from arlab.orderings.ordering import Ordering, Prefix
from arlab.orderings.step import Kind, Layout, Slots
from arlab.rng import BatchRng


class Places(Configurable, ABC):
    """A recipe for an embedding of where a slot stands."""

    any_layout: bool = False
    """Whether a table made for one layout serves others."""
    reads_targets: bool = False
    """Whether it tells a slot its target."""

    def refuse(self, ordering: Ordering, layout: Layout) -> None:
        """See that it has an effect on the slots that an ordering feeds on this layout.

        Raises:
            ValueError: it has none; the message names what goes together.
        """

    @abstractmethod
    def build(self, width: int, layout: Layout, num_condition: int) -> PlacesModule:
        """A fresh table for this layout."""


class PlacesModule(nn.Module, ABC):
    """Slot rows to vectors; its weights never decay."""

    no_weight_decay = True

    @abstractmethod
    def forward(self, rows: Slots, layout: Layout) -> Tensor:
        """[B,] S, D."""


def trained_slots(ordering: Ordering, layout: Layout) -> Slots:
    """The slots of a training pass, for one condition slot and one sample."""
    # A model may be built without memory, but what is asked here has to be known; nothing of it is remembered.
    with torch.device("cpu"):
        return ordering.training(Layout(layout.shapes), Prefix(1), BatchRng(0, 1)).feed


def refuse_places(places: Sequence[Places], ordering: Ordering, layout: Layout) -> None:
    """See that all these have an effect, and that they tell slots what is asked of them where nothing else does.

    Raises:
        ValueError: they do not.
    """
    for each in places:
        each.refuse(ordering, layout)
    if ordering.tells_targets and not any(each.reads_targets for each in places):
        raise ValueError(
            f"backbone.places: slots of {type(ordering).__name__} must be told which token they predict; choose "
            "places: [LearnedPlaces, TargetPlaces]"
        )


class LearnedPlaces(Places):
    """One learned vector per token place and per condition slot; slots that stand nowhere else get zero."""

    def __init__(self) -> None:
        pass

    def build(self, width: int, layout: Layout, num_condition: int) -> PlacesModule:
        return _Learned(width, layout, num_condition)


class LevelPlaces(Places):
    """One learned vector per level (VAR's lvl_embed).

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905.
    """

    def __init__(self) -> None:
        pass

    def build(self, width: int, layout: Layout, num_condition: int) -> PlacesModule:
        return _Level(width, layout)


class _Learned(PlacesModule):
    def __init__(self, width: int, layout: Layout, num_condition: int) -> None:
        super().__init__()
        self.layout = layout
        self.num_tokens = layout.num_tokens
        self.table = nn.Parameter(torch.zeros(self.num_tokens + num_condition, width))

    def forward(self, rows: Slots, layout: Layout) -> Tensor:
        if layout != self.layout:
            raise ValueError(
                f"backbone.places: LearnedPlaces knows the places of {self.layout} only, got {layout}; "
                "choose ResizedPlaces"
            )
        condition = torch.where(rows.kind == Kind.COND, self.num_tokens + rows.source, -1)
        index = torch.where(rows.at >= 0, rows.at, condition)
        return self.table[index.clamp(min=0)] * (index >= 0)[..., None]


class _Level(PlacesModule):
    def __init__(self, width: int, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.table = nn.Parameter(torch.zeros(len(layout.shapes), width))

    def forward(self, rows: Slots, layout: Layout) -> Tensor:
        if layout != self.layout:
            raise ValueError(
                f"backbone.places: LevelPlaces knows the levels {self.layout} only, got {layout}; choose ResizedPlaces"
            )
        level = layout.level_N.to(rows.at.device)[rows.at.clamp(min=0)]
        return self.table[level] * (rows.at >= 0)[..., None]
