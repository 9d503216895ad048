"""Times of noised tokens, t = 0 for data and t = 1 for noise, as vectors.

Letters: D width of the vectors, F frequencies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class TimeEmbedding(nn.Module):
    """t in [0, 1] to D numbers: cosines, then sines, of 1000 t · 10000^(-f / F), then two linear maps, SiLU between.

    Args:
        width: D.
        truncate: round 1000 t down to an integer, as published models do that were trained on numbered steps.
        num_frequencies: F.
    """

    def __init__(self, width: int, *, truncate: bool = False, num_frequencies: int = 128) -> None:
        super().__init__()
        self.truncate = truncate
        self.num_frequencies = num_frequencies
        self.mlp = nn.Sequential(nn.Linear(2 * num_frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        """Times of any shape to vectors, (*shape, D)."""
        # Published models truncate products in float32, which differ from exact ones by a step here and there.
        number = (1000 * time.float()).floor().to(time) if self.truncate else 1000 * time
        exponent = torch.arange(self.num_frequencies, device=time.device) / self.num_frequencies
        angle = number[..., None] * torch.exp(-math.log(10000) * exponent)
        waves = torch.cat((angle.cos(), angle.sin()), -1)
        # Angles in the precision of the times, which may be finer or coarser than that of the weights.
        h: Tensor = self.mlp(waves.to(next(self.mlp.parameters()).dtype))
        return h
