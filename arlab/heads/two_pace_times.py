"""Times of a solver: even steps through most of the noise, then smaller even steps to the data."""

from __future__ import annotations

import torch

from arlab.heads.time_grids import TimeGrid
from arlab.ranges import require


class TwoPaceTimes(TimeGrid):
    """``num_early`` times evenly from 1 to ``early_end``, then ``num_late`` evenly from ``late_begin`` to 0.

    The default is FlowAR's grid of 25 times: 24 steps, of 0.064, once 0.05, and of 0.021.

    FlowAR: Scale-wise Autoregressive Image Generation Meets Flow Matching, arXiv 2412.15205.

    Args:
        num_early: times of the first pace.
        early_end: the last of them.
        num_late: times of the second pace.
        late_begin: the first of them, below ``early_end``.
    """

    def __init__(
        self, *, num_early: int = 12, early_end: float = 0.3, num_late: int = 13, late_begin: float = 0.25
    ) -> None:
        require("times.num_early", num_early, at_least=2, at_most=10000)
        require("times.num_late", num_late, at_least=2, at_most=10000)
        require("times.early_end", early_end, above=0, below=1)
        require("times.late_begin", late_begin, above=0, below=early_end)
        self.num_early = num_early
        self.early_end = early_end
        self.num_late = num_late
        self.late_begin = late_begin

    def __call__(self) -> list[float]:
        early = torch.linspace(1, self.early_end, self.num_early, dtype=torch.float64, device="cpu")
        late = torch.linspace(self.late_begin, 0, self.num_late, dtype=torch.float64, device="cpu")
        return [*early.tolist(), *late.tolist()]
