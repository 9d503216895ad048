"""Scales: the latent on grids from coarse to fine.

Letters: B batch, C channels of a latent.
"""

from __future__ import annotations

import copy

from torch import Tensor

from arlab.orderings.step import Layout
from arlab.pyramids.grids import check_sides, layout_of
from arlab.pyramids.interpolation import Bicubic, Interpolation, area
from arlab.pyramids.pyramid import Pyramid

_KEY = "pyramid.patch_nums"


class ScalePyramid(Pyramid):
    """A level is the area average over the cells of its grid, brought up by interpolation; the last is left as it is.

    Residual, as VAR's and Infinity's: of what the coarser levels left over. Otherwise, as FlexVAR's and FlowAR's: of
    the latent itself.

        ScalePyramid(patch_nums=[1, 2, 3, 4, 5, 6, 8, 10, 13, 16])     # VAR's, on latents of 16 x 16
        ScalePyramid(patch_nums=[1, 2, [2, 4], [4, 8]])                # on latents of 4 x 8

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905
    FlexVAR: Flexible Visual Autoregressive Modeling without Residual Prediction, arXiv 2502.20313

    Args:
        patch_nums: the grid of each scale, coarse to fine, the last one the latent's own: its sides, or a number of
            cells along the longest axis with the others in proportion; none: halvings of the latent.
        residual: whether a scale holds what the coarser ones left over; otherwise each holds the whole latent.
        interpolation: from the grid of a scale to the latent's.

    Raises:
        ValueError: there is no scale, or a side is below 1.
    """

    def __init__(
        self,
        *,
        patch_nums: list[int | list[int]] | None = None,
        residual: bool = True,
        interpolation: Interpolation | None = None,
    ) -> None:
        check_sides(patch_nums, _KEY)
        self.patch_nums = patch_nums
        self.residual = residual
        self.interpolation = Bicubic() if interpolation is None else interpolation
        self._given: Layout | None = None

    def layout(self, shape: tuple[int, ...]) -> Layout:
        # Given scales need not end with the latent's own grid.
        return layout_of(self.patch_nums, shape, _KEY) if self._given is None else self._given

    def at(self, layout: Layout) -> Pyramid:
        if self.residual:
            raise ValueError(
                f"pyramid: the scales {self.patch_nums} of a residual ScalePyramid are those it was trained on and "
                f"cannot be exchanged for {[list(shape) for shape in layout.shapes]}; residual: false allows it"
            )
        twin = copy.copy(self)
        twin._given = layout
        return twin

    def down(self, rest: Tensor, level: int) -> Tensor:
        return area(rest, self.layout(tuple(rest.shape[2:])).shapes[level])

    def up(self, values: Tensor, level: int, shape: tuple[int, ...]) -> Tensor:
        return self.interpolation(values, shape)
