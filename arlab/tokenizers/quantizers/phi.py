"""VAR's φ: convolutions that smooth what each level adds to the canvas.

Letters: B batch, C vector width, S the latent's sides, L levels, K convolutions.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from arlab.configurable import Configurable
from arlab.pyramids.grids import MOST_LEVELS
from arlab.ranges import require

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class PhiConvolutions(nn.Module, Configurable):
    """φ_l(h) = (1 - r) h + r conv_k(h), of three cells along each axis; neighbouring levels share a convolution.

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905

    Args:
        ratio: r.
        num: K; 0 for one per level. Those that no level takes are not made.

    Raises:
        ValueError: the ratio is not in (0, 1], or there are negative or far too many convolutions.
    """

    def __init__(self, *, ratio: float = 0.5, num: int = 4) -> None:
        super().__init__()
        require("quantizer.refinement.ratio", ratio, above=0, at_most=1)
        require("quantizer.refinement.num", num, at_least=0, at_most=MOST_LEVELS)
        self.ratio = ratio
        self.num = num

    def extra_repr(self) -> str:
        return f"ratio={self.ratio}, num={self.num}"

    def bind(self, width: int, axes: int, levels: int) -> None:
        """Create the convolutions for maps of ``width`` on so many axes, and say which level takes which."""
        chosen = list(range(levels)) if self.num == 0 else taken(self.num, levels)
        used = sorted(set(chosen))
        self.convolution_of = [used.index(number) for number in chosen]
        self.convolutions = nn.ModuleList(_CONVOLUTIONS[axes](width, width, 3, padding=1) for _ in used)

    def forward(self, whole: Tensor, level: int) -> Tensor:
        """What a level adds to the canvas, (B, C, *S) to the same."""
        smoothed = self.convolutions[self.convolution_of[level]](whole)
        refined: Tensor = whole * (1 - self.ratio) + smoothed * self.ratio
        return refined


def taken(num: int, levels: int) -> list[int]:
    """Which of ``num`` convolutions each level takes: the nearest, when both are spread over [0, 1].

    A level can lie halfway between two, as the third of VAR's ten does, and rounding decides: so these are VAR's own
    float64 expressions. Four convolutions lie a little further out than other numbers of them.
    """
    margin = 1 / 3 / num if num == 4 else 1 / 2 / num
    places = np.linspace(margin, 1 - margin, num)
    return [int(np.abs(places - (level / (levels - 1) if levels > 1 else 0)).argmin()) for level in range(levels)]
