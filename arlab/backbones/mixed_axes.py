"""ACDiT's rotary positions, which pair a channel of one axis with a channel of another.

Letters: B batch, H heads, S slots, A axes, E width of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.backbones.rotary import IdentityRotation, Nowhere, Rotary
from arlab.orderings.step import Layout, Slots
from arlab.ranges import require
from arlab.rotation import Rotation

_MOST_SHARE = 2**16


class MixedAxes(Rotary):
    """ACDiT's positions: of two channels that belong together one turns by the row, the other by the column.

        x cos θ + (-x_{E/2..E}, x_{0..E/2}) sin θ,   θ = [p f, p f, q f', q f'] for a token at (p, q)

    An axis with n pairs has f_j = base^(-j / (n - 1)), from 1 to 1 / base, both included. Since θ_i and θ_{i + E/2}
    belong to different axes it is no rotation, and scores do not depend on offsets alone: for released weights, which
    were trained with it. Places are in units of the finest level.

    ACDiT: Interpolating Autoregressive Conditional Modeling and Diffusion Transformer (ACDiT), arXiv 2412.07720.

    Args:
        shares: of a head's channels, one number per axis; null shares them out evenly (ACDiT has 2, 3, 3 of video).
        base: null for ACDiT's, 100 (⌊8 L / 100 π⌋ + 1) for an axis of L places.
        nowhere: what happens to condition slots.
    """

    def __init__(
        self, *, shares: list[int] | None = None, base: float | None = None, nowhere: Nowhere | None = None
    ) -> None:
        if shares is not None and not shares:
            raise ValueError("backbone.rotary.shares: expected a number for each axis, got []")
        for share in shares or []:
            require("backbone.rotary.shares", share, at_least=1, at_most=_MOST_SHARE)
        if base is not None:
            require("backbone.rotary.base", base, above=0)
        self.shares = shares
        self.base = base
        self.nowhere = IdentityRotation() if nowhere is None else nowhere

    def rotation(
        self,
        rows: Slots,
        layout: Layout,
        head_width: int,
        num_condition: int,
        finest: tuple[int, ...] | None = None,
    ) -> Rotation:
        """Cosines and sines for these slots.

        Raises:
            ValueError: the channels of a head cannot be shared out so.
        """
        device, sides = rows.at.device, layout.finest if finest is None else finest
        place_NA = layout.place_NA.to(device)
        place_NA = place_NA * (torch.tensor(sides, device=device) / torch.tensor(layout.finest, device=device))
        stands = rows.at >= 0
        coordinate_SA = torch.where(
            stands[..., None],
            place_NA[rows.at.clamp(min=0)],
            self.nowhere.coordinate(rows, num_condition)[..., None].to(place_NA.dtype),
        )
        angles = []
        for axis, pairs in enumerate(self._pairs(head_width, layout.num_axes)):
            # Angles of distant places need float32 even where half precision is the default.
            exponent = torch.linspace(0, 1, pairs, device=device, dtype=place_NA.dtype)
            base = 100 * (int(8 * sides[axis] / math.pi) // 100 + 1) if self.base is None else self.base
            angles += [coordinate_SA[..., axis, None] * (1.0 / base**exponent)] * 2
        angle = torch.cat(angles, -1)
        magnitude = torch.where(stands, 1.0, self.nowhere.magnitude)[..., None]
        cos, sin = angle.cos() * magnitude, angle.sin() * magnitude
        # Per-sample places need an axis for the heads.
        return _HalfSplit(cos[:, None], sin[:, None]) if cos.dim() == 3 else _HalfSplit(cos, sin)

    def _pairs(self, head_width: int, axes: int) -> list[int]:
        """Pairs of equal angles that each axis has of a head."""
        shares = [1] * axes if self.shares is None else self.shares
        if len(shares) != axes:
            raise ValueError(f"backbone.rotary.shares: expected a number for each of {axes} axes, got {shares}")
        if head_width % (2 * sum(shares)):
            raise ValueError(
                f"backbone.rotary: MixedAxes shares out pairs of channels in proportion {shares}, for which the width "
                f"of a head must be a multiple of {2 * sum(shares)}, got {head_width}"
            )
        return [share * (head_width // (2 * sum(shares))) for share in shares]


@dataclass(frozen=True)
class _HalfSplit(Rotation):
    """Cosines and sines for every channel, [B, 1,] S, E."""

    def __call__(self, x_BHSE: Tensor) -> Tensor:
        first, second = x_BHSE.chunk(2, -1)
        return (x_BHSE * self.cos + torch.cat((-second, first), -1) * self.sin).type_as(x_BHSE)
