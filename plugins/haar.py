"""Haar levels: means over nested blocks, each level splitting every block of the one before in two along each axis.

Letters: B batch, C channels of a latent, S sides (N,), (h, w) or (t, h, w).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.orderings.step import Layout
from arlab.pyramids.pyramid import Pyramid
from arlab.ranges import require

_MOST_LEVELS = 64


class HaarPyramid(Pyramid):
    """The Haar wavelet's multiresolution: a level holds what block means twice as coarse leave over.

        level_l = mean over blocks of 2^(L-l) cells of the rest;  canvas = Σ_l level_l, constant on its blocks

    Blocks nest, so each level is an orthogonal projection of the latent: unquantised levels are uncorrelated with each
    other, Σ_l |contribution_l|² = |latent|², and a cell speaks for its own block alone. That is what sets it apart from
    ScalePyramid, whose windows overlap where a side is no power of two (7 -> 3 -> 1) and whose interpolation reaches
    into the neighbours. Sides that are no power of two end in smaller blocks: 7 -> 4 -> 2 -> 1 cells.

        arlab fit --config experiments/fashion/tokenizers/multi_scale.yaml --model.quantizer.pyramid HaarPyramid

    NextScale orders its tokens: classes that are none of arlab's are taken for the pyramid it follows. The paper feeds
    bits of wavelet coefficients to a language model; here their levels are quantised instead.

    Wavelets Are All You Need for Autoregressive Image Generation, arXiv 2406.19997.

    Args:
        levels: the finest so many levels only, with more than one cell on the first; null: down to a single cell.

    Raises:
        ValueError: there is no level.
    """

    def __init__(self, *, levels: int | None = None) -> None:
        if levels is not None:
            require("pyramid.levels", levels, at_least=1, at_most=_MOST_LEVELS)
        self.levels = levels

    def layout(self, shape: tuple[int, ...]) -> Layout:
        halvings = (max(shape) - 1).bit_length()
        count = halvings + 1 if self.levels is None else min(self.levels, halvings + 1)
        # -(-n // d) rounds up.
        return Layout(tuple(tuple(-(-side // 2**left) for side in shape) for left in reversed(range(count))))

    def down(self, rest: Tensor, level: int) -> Tensor:
        block = self._block(tuple(rest.shape[2:]), level)
        for axis in range(2, rest.dim()):
            rest = _block_means(rest.movedim(axis, -1), block).movedim(-1, axis)
        return rest

    def up(self, values: Tensor, level: int, shape: tuple[int, ...]) -> Tensor:
        block = self._block(shape, level)
        for axis, side in enumerate(shape, start=2):
            values = values.index_select(axis, torch.arange(side, device=values.device) // block)
        return values

    def _block(self, shape: tuple[int, ...], level: int) -> int:
        """How many cells of the latent a block of a level has along each axis."""
        return 1 << (len(self.layout(shape).shapes) - 1 - level)


def _block_means(lines: Tensor, block: int) -> Tensor:
    """Means of blocks of the last axis, the last of them over as many cells as are left."""
    side = lines.shape[-1]
    padded = F.pad(lines, (0, -side % block))
    held = F.pad(lines.new_ones(side), (0, -side % block)).unflatten(-1, (-1, block)).sum(-1)
    means: Tensor = padded.unflatten(-1, (-1, block)).sum(-1) / held
    return means
