"""Places for any grid: one learned map, averaged down to the grid of each level.

Letters: S slots, D width, P condition slots, A axes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arlab.backbones.places import Places, PlacesModule
from arlab.orderings.step import Kind, Layout, Slots
from arlab.pyramids.interpolation import area
from arlab.ranges import require

_MOST_CELLS = 2**16


class ResizedPlaces(Places):
    """A learned map of vectors, brought by area averages to the grid of each level; slots of conditions add their own.

    Unlike a table it knows any layout of as many axes, so levels and sizes may be others than in training. It starts
    as sines and cosines of the cell, the channels shared out among the axes.

    FlexVAR: Flexible Visual Autoregressive Modeling without Residual Prediction, arXiv 2502.20313.

    Args:
        size: cells along each axis.
    """

    any_layout = True

    def __init__(self, *, size: int = 32) -> None:
        require("backbone.places.size", size, at_least=1, at_most=_MOST_CELLS)
        self.size = size

    def build(self, width: int, layout: Layout, num_condition: int) -> PlacesModule:
        require("backbone.places.size", self.size**layout.num_axes, at_most=_MOST_CELLS)
        return _Resized(width, self.size, layout.num_axes, num_condition)


class _Resized(PlacesModule):
    def __init__(self, width: int, size: int, axes: int, num_condition: int) -> None:
        super().__init__()
        self.map = nn.Parameter(_waves(width, size, axes))
        self.table = nn.Parameter(torch.zeros(num_condition, width))

    def forward(self, rows: Slots, layout: Layout) -> Tensor:
        used = rows.at[rows.at >= 0]
        level_N = layout.level_N.to(rows.at.device)
        shapes = dict.fromkeys(layout.shapes[level] for level in level_N[used].unique().tolist())
        # Levels of one shape share their places; a token's row among all of them is looked up by its cell.
        first, flat = {}, [self.map.new_zeros(1, self.map.shape[0])]
        for shape in shapes:
            first[shape] = sum(map(len, flat))
            flat.append(area(self.map[None], shape)[0].flatten(1).T)
        starts = [first.get(shape, 0) - begin for shape, begin in zip(layout.shapes, layout.first, strict=True)]
        start_L = torch.tensor(starts, device=rows.at.device)
        token = rows.at.clamp(min=0)
        place = torch.cat(flat)[torch.where(rows.at >= 0, token + start_L[level_N[token]], 0)]
        if len(self.table) == 0:
            return place
        is_condition = rows.kind == Kind.COND
        own = self.table[torch.where(is_condition, rows.source, 0)]
        return place + own * is_condition[..., None]


def _waves(width: int, size: int, axes: int) -> Tensor:
    """(D, *sides): channel c is a wave of the cell along axis c mod A, of frequency 10000^(-A (c // A) / D).

    Even channels are sines and odd ones cosines: on two axes sines of rows and cosines of columns, FlexVAR's.
    """
    channel_D = torch.arange(width)
    frequency_D = 10000.0 ** (-axes * (channel_D // axes) / width)
    angle_DS = frequency_D[:, None] * torch.arange(size)
    wave_DS = torch.where((channel_D % 2 == 0)[:, None], angle_DS.sin(), angle_DS.cos())
    cell_A = torch.stack(torch.meshgrid(*[torch.arange(size)] * axes, indexing="ij"))
    return wave_DS[channel_D.view(-1, *[1] * axes), cell_A[channel_D % axes]]
