"""Depths: the latent again and again, each time what is left of it."""

from __future__ import annotations

from torch import Tensor

from arlab.orderings.step import Layout
from arlab.pyramids.grids import MOST_LEVELS
from arlab.pyramids.pyramid import Pyramid
from arlab.ranges import require


class DepthPyramid(Pyramid):
    """Every level lies on the latent's own grid and holds what the levels before it left over: residual quantisation.

    Unquantised, the first level is the latent and the others are zero.

    Autoregressive Image Generation using Residual Quantization (RQ-VAE), arXiv 2203.01941

    Args:
        depth: the number of levels.

    Raises:
        ValueError: there is no level, or far too many.
    """

    def __init__(self, *, depth: int = 4) -> None:
        require("pyramid.depth", depth, at_least=1, at_most=MOST_LEVELS)
        self.depth = depth

    def layout(self, shape: tuple[int, ...]) -> Layout:
        return Layout((shape,) * self.depth)

    def down(self, rest: Tensor, level: int) -> Tensor:
        return rest

    def up(self, values: Tensor, level: int, shape: tuple[int, ...]) -> Tensor:
        return values
