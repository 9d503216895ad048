"""Rotary positions: queries and keys are rotated by the place their slot stands on.

Letters: B batch, H heads, S slots, A axes, E width of a head (E / 2 pairs of adjacent channels).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.orderings.step import Kind, Layout, Slots
from arlab.ranges import require
from arlab.rotation import Rotation, angles, rotation


class Nowhere(Configurable, ABC):
    """What rotary positions do to slots that stand nowhere (condition slots)."""

    magnitude: float = 1.0
    """cos² + sin² there: 0 erases queries and keys, 1 rotates them."""

    @abstractmethod
    def coordinate(self, rows: Slots, num_condition: int) -> Tensor:
        """The coordinate such slots take on every axis, [B,] S."""


class ZeroRotation(Nowhere):
    """Queries and keys are multiplied by zero, as LlamaGen's are: such keys score 0, such queries attend evenly."""

    magnitude = 0.0

    def __init__(self) -> None:
        pass

    def coordinate(self, rows: Slots, num_condition: int) -> Tensor:
        return torch.zeros_like(rows.at)


class IdentityRotation(Nowhere):
    """Queries and keys are left as they are."""

    def __init__(self) -> None:
        pass

    def coordinate(self, rows: Slots, num_condition: int) -> Tensor:
        return torch.zeros_like(rows.at)


class CountedRotation(Nowhere):
    """Condition slot i of P is rotated as if it stood at i - P, in front of the image, as D-AR's are."""

    def __init__(self) -> None:
        pass

    def coordinate(self, rows: Slots, num_condition: int) -> Tensor:
        before = (rows.source - num_condition).expand_as(rows.at)
        return torch.where(rows.kind == Kind.COND, before, 0)


class Rotary(Configurable, ABC):
    """A recipe for rotary positions; it has no weights."""

    @abstractmethod
    def rotation(
        self,
        rows: Slots,
        layout: Layout,
        head_width: int,
        num_condition: int,
        finest: tuple[int, ...] | None = None,
    ) -> Rotation | None:
        """Cosines and sines for these slots; None where nothing is rotated.

        Args:
            rows: the slots.
            layout: where the tokens lie.
            head_width: E.
            num_condition: how many condition slots there are.
            finest: the grid whose cells are the unit of places; the layout's finest by default. One unit for all
                layouts lets a model go over from one to another.
        """


class NoRotary(Rotary):
    """Leave queries and keys as they are (VAR: learned places only)."""

    def __init__(self) -> None:
        pass

    def rotation(
        self,
        rows: Slots,
        layout: Layout,
        head_width: int,
        num_condition: int,
        finest: tuple[int, ...] | None = None,
    ) -> Rotation | None:
        return None


class AxialRotary(Rotary):
    """Rotation of adjacent channel pairs; the pairs are shared out among the axes, rows first.

    Pair j of an axis with n pairs turns by place · base^(-j / n). Places are in units of the finest level.

    RoFormer: Enhanced Transformer with Rotary Position Embedding, arXiv 2104.09864.

    Args:
        base: the slowest pair turns about 1 / base radians a token.
        nowhere: what happens to condition slots.
    """

    def __init__(self, *, base: float = 10000.0, nowhere: Nowhere | None = None) -> None:
        require("backbone.rotary.base", base, above=0)
        self.base = base
        self.nowhere = ZeroRotation() if nowhere is None else nowhere

    def rotation(
        self,
        rows: Slots,
        layout: Layout,
        head_width: int,
        num_condition: int,
        finest: tuple[int, ...] | None = None,
    ) -> Rotation | None:
        """Cosines and sines for these slots.

        Raises:
            ValueError: a head is too narrow to give each axis a pair.
        """
        device = rows.at.device
        place_NA = layout.place_NA.to(device)
        if finest is not None and finest != layout.finest:
            place_NA = place_NA * torch.tensor(
                [a / b for a, b in zip(finest, layout.finest, strict=True)], device=device
            )
        stands = rows.at >= 0
        coordinate_SA = torch.where(
            stands[..., None],
            place_NA[rows.at.clamp(min=0)],
            self.nowhere.coordinate(rows, num_condition)[..., None].to(place_NA.dtype),
        )
        angle = angles(coordinate_SA, head_width, self.base)
        return rotation(angle, torch.where(stands, 1.0, self.nowhere.magnitude)[..., None])
