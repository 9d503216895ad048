"""Rotary positions: pairs of channels are turned by angles that grow with the place.

Letters: B batch, H heads, S slots or tokens, A axes, E width of a head (E / 2 pairs of adjacent channels).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rotation:
    """Cosines and sines for a set of slots, [B,] S, E / 2 (then with a heads axis)."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x_BHSE: Tensor) -> Tensor:
        """Rotate each pair of adjacent channels (2i, 2i + 1) by its angle."""
        even, odd = x_BHSE[..., 0::2], x_BHSE[..., 1::2]
        rotated = torch.stack((even * self.cos - odd * self.sin, even * self.sin + odd * self.cos), -1)
        return rotated.flatten(-2).type_as(x_BHSE)


def angles(place_SA: Tensor, head_width: int, base: float) -> Tensor:
    """The angle of every pair, [B,] S, E / 2; the pairs are shared out among the axes, those left over stand still.

    Pair j of an axis with n pairs turns by place · ``frequencies``_j.

    Raises:
        ValueError: a head is too narrow to give each axis a pair.
    """
    axes = place_SA.shape[-1]
    pairs = head_width // 2 // axes
    if pairs == 0 or head_width % 2:
        raise ValueError(f"rotary: a head of width {head_width} has no pair of channels for {axes} axes")
    angle = (place_SA[..., None] * frequencies(pairs, base, place_SA.device)).flatten(-2)
    return torch.nn.functional.pad(angle, (0, head_width // 2 - angle.shape[-1]))


def frequencies(pairs: int, base: float, device: torch.device) -> Tensor:
    """base^(-j / pairs) for each pair j, in radians a unit of places."""
    # Angles of distant places need float32 even where half precision is the default.
    dtype = torch.promote_types(torch.get_default_dtype(), torch.float32)
    frequency: Tensor = base ** (-torch.arange(pairs, device=device, dtype=dtype) / pairs)
    return frequency


def rotation(angle: Tensor, magnitude: Tensor | float = 1.0) -> Rotation:
    """What turns by these angles, [B,] S, E / 2, and scales by the magnitude."""
    cos, sin = angle.cos() * magnitude, angle.sin() * magnitude
    # Per-sample places need an axis for the heads: (B, 1, S, E / 2) broadcasts against (B, H, S, E / 2).
    return Rotation(cos[:, None], sin[:, None]) if cos.dim() == 3 else Rotation(cos, sin)
