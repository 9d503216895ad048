"""Frequency bands: the latent from its mean to its finest detail.

Letters: B batch, C channels of a latent, L bands, A axes, S sides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from arlab.orderings.step import Layout
from arlab.pyramids.bands import BandShape, Square, band_masks
from arlab.pyramids.grids import check_sides, layout_of
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.transforms import DCT, FrequencyTransform

_SLACK = 1e-6


class FrequencyPyramid(Pyramid):
    """A level is a band of frequencies, on a grid just fine enough for it, with what the bands below left over.

        share_l = T⁻¹(M_l · T z),  Σ_l M_l = 1;  level_l = down(rest_{l-1} + share_l)

    With DCT, Square and cutoffs from the grids the bands are orthogonal and nothing is left over but by quantisation.

    NFIG's own cutoffs follow σ_l = σ_{l-1} + σ_max · cells_l / Σ cells, rings with FFT; most of its coarse bands hold
    no frequency on latents of 16 x 16, and this class refuses such bands. Written after secondary descriptions of the
    paper, whose code is not public.

        FrequencyPyramid(bands=[1, 2, 4, 8, 16])
        FrequencyPyramid(bands=[1, 4, 8], cutoffs=[0.1, 0.4, 1.5], shape=Radial(), transform=FFT())

    NFIG: Autoregressive Image Generation with Next-Frequency Prediction, arXiv 2503.07076

    Args:
        bands: the grid of each band, low to high, the last one the latent's own: its sides, or a number of cells along
            the longest axis with the others in proportion; none: halvings of the latent.
        cutoffs: the upper edge of each band as a fraction of the Nyquist frequency, increasing, the last at or above
            the highest frequency there is; none: what the grid of the band can express.
        shape: what 'below an edge' means on several axes; squares by default.
        transform: to frequencies and back; the cosine transform by default.

    Raises:
        ValueError: there is no band, a side is below 1, or the cutoffs do not increase or are not one per band.
    """

    def __init__(
        self,
        *,
        bands: list[int | list[int]] | None = None,
        cutoffs: list[float] | None = None,
        shape: BandShape | None = None,
        transform: FrequencyTransform | None = None,
    ) -> None:
        check_sides(bands, "pyramid.bands")
        if cutoffs is not None:
            _check_cutoffs(cutoffs, bands)
        self.bands = bands
        self.cutoffs = cutoffs
        self.shape = Square() if shape is None else shape
        self.transform = DCT() if transform is None else transform
        self._masks: dict[tuple[tuple[int, ...], torch.device], Tensor] = {}

    def layout(self, shape: tuple[int, ...]) -> Layout:
        layout = layout_of(self.bands, shape, "pyramid.bands")
        self._masks_for(layout, torch.device("cpu"))
        return layout

    def share(self, z: Tensor, level: int) -> Tensor | None:
        masks_LS = self._masks_for(self.layout(tuple(z.shape[2:])), z.device)
        return self.transform.band(z, masks_LS[level])

    def down(self, rest: Tensor, level: int) -> Tensor:
        return self.transform.down(rest, self.layout(tuple(rest.shape[2:])).shapes[level])

    def up(self, values: Tensor, level: int, shape: tuple[int, ...]) -> Tensor:
        return self.transform.up(values, shape)

    def masks(self, shape: tuple[int, ...]) -> Tensor:
        """Which coefficients each band of a latent of this shape holds, (L, *shape) bool; one band each.

        Raises:
            ValueError: a band holds none, or some are in no band.
        """
        return self._masks_for(layout_of(self.bands, shape, "pyramid.bands"), torch.device("cpu"))

    def _masks_for(self, layout: Layout, device: torch.device) -> Tensor:
        key = (layout.finest, device)
        if key not in self._masks:
            # What is made in inference mode could not be used in training.
            with torch.inference_mode(False):
                self._masks[key] = self._made(layout).to(device)
        return self._masks[key]

    def _made(self, layout: Layout) -> Tensor:
        along = [self.transform.frequencies(side) for side in layout.finest]
        f_AS = torch.stack(torch.meshgrid(*along, indexing="ij"))
        edges = self._edges(layout)
        masks_LS = band_masks(self.shape, f_AS, torch.tensor(edges, dtype=torch.float64, device="cpu"))
        self._refuse_left_out(self.shape.size(f_AS), _shown(layout.finest))
        for band, held in enumerate(masks_LS.flatten(1).sum(1).tolist()):
            if held == 0:
                lower = _edge(edges[band - 1]) if band else "0"
                upper = _edge(edges[band]) if band < len(edges) else "the highest"
                raise ValueError(
                    f"pyramid.cutoffs: band {band} ({_shown(layout.shapes[band])} tokens, between {lower} and {upper}) "
                    f"holds no frequency of a {_shown(layout.finest)} latent; move its edges apart or leave it out"
                )
        return masks_LS

    def _refuse_left_out(self, size_S: Tensor, latent: str) -> None:
        if self.cutoffs is None:
            return
        left_out = int((size_S > self.cutoffs[-1] * (1 + _SLACK)).sum())
        if left_out:
            raise ValueError(
                f"pyramid.cutoffs: the last is {self.cutoffs[-1]:g}, so {left_out} frequencies of a {latent} latent "
                f"lie in no band; the highest is {float(size_S.max()):.4g}"
            )

    def _edges(self, layout: Layout) -> list[list[float]]:
        """The upper edge of each band but the last, one number per axis."""
        if self.cutoffs is None:
            return [
                [self.transform.expressed(side, of) for side, of in zip(grid, layout.finest, strict=True)]
                for grid in layout.shapes[:-1]
            ]
        if len(self.cutoffs) != len(layout.shapes):
            raise _not_one_each(len(layout.shapes), len(self.cutoffs))
        return [[cutoff] * layout.num_axes for cutoff in self.cutoffs[:-1]]


def _check_cutoffs(cutoffs: list[float], bands: Sequence[object] | None) -> None:
    if bands is not None and len(cutoffs) != len(bands):
        raise _not_one_each(len(bands), len(cutoffs))
    if not all(0 < cutoff < math.inf for cutoff in cutoffs):
        raise ValueError(f"pyramid.cutoffs: every edge must be a positive number, got {cutoffs}")
    if any(after <= before for before, after in pairwise(cutoffs)):
        raise ValueError(f"pyramid.cutoffs: must increase from band to band, got {cutoffs}")


def _not_one_each(bands: int, cutoffs: int) -> ValueError:
    return ValueError(f"pyramid.cutoffs: expected one upper edge per band, {bands}, got {cutoffs}")


def _shown(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))


def _edge(along: Sequence[float]) -> str:
    each = [f"{edge:.4g}" for edge in along]
    return each[0] if len(set(each)) == 1 else f"[{', '.join(each)}]"
