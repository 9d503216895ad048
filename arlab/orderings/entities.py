"""Entities: which tokens are drawn together, and after which others.

Letters: N tokens, n tokens of an entity, A axes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.orderings.step import Layout
from arlab.pyramids.grids import check_sides
from arlab.pyramids.grids import layout_of as scales_of
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.ranges import require

_KEY = "ordering.entities"


class Entities(Configurable, ABC):
    """Splits the tokens of an image into entities, in the order in which they are drawn."""

    @abstractmethod
    def __call__(self, layout: Layout) -> list[Tensor]:
        """One tensor of token numbers per entity, none empty, together a partition of the tokens.

        Raises:
            ValueError: it cannot split such a layout.
        """

    def layout_of(self, grid: tuple[int, ...]) -> Layout:
        """A layout it can split whose finest level is this grid."""
        return Layout((grid,))

    def latent_pyramid(self, layout: Layout) -> Pyramid | None:
        """Along what it wants continuous tokens of one level split; None leaves them there."""
        return None


class Cells(Entities):
    """Blocks of neighbouring tokens in raster order, as large as asked for or as many.

    Where the sides do not divide, ``shape`` leaves the last cell along an axis smaller, and ``count`` makes cells that
    differ by one token at most. One axis may be left whole: ``count: [4, 1, 1]`` is a video in four groups of frames.

    Args:
        shape: tokens of a cell along each axis; a number holds for all axes.
        count: cells along each axis, a number for all axes; 2 where neither is given (xAR).

    Raises:
        ValueError: both are given, or a number is below 1.
    """

    def __init__(self, *, shape: int | list[int] | None = None, count: int | list[int] | None = None) -> None:
        if shape is not None and count is not None:
            raise ValueError(f"{_KEY}: give the shape of cells or their count, not both, got {shape} and {count}")
        _check("shape", shape)
        _check("count", count)
        self.shape = shape
        self.count = count

    def __call__(self, layout: Layout) -> list[Tensor]:
        grid = _one_grid(self, layout)
        axes = layout.cell_NA.unbind(-1)
        if self.shape is not None:
            wide = _along("shape", self.shape, grid)
            number = [cell_N // size for cell_N, size in zip(axes, wide, strict=True)]
        else:
            counts = _along("count", 2 if self.count is None else self.count, grid)
            number = [cell_N * count // side for cell_N, count, side in zip(axes, counts, grid, strict=True)]
        return _grouped(torch.stack(number, -1))


class Subsamples(Entities):
    """Interleaved grids: every so many-th token along each axis, the one that holds the first corner first.

    Args:
        stride: tokens from one to the next along each axis, a number for all axes; 2 makes four of an image.

    Raises:
        ValueError: a number is below 1.
    """

    def __init__(self, *, stride: int | list[int] = 2) -> None:
        _check("stride", stride)
        self.stride = stride

    def __call__(self, layout: Layout) -> list[Tensor]:
        stride = _along("stride", self.stride, _one_grid(self, layout))
        return _grouped(layout.cell_NA % torch.tensor(stride))


class SingleTokens(Entities):
    """Each token for itself, in raster order."""

    def __init__(self) -> None:
        pass

    def __call__(self, layout: Layout) -> list[Tensor]:
        _one_grid(self, layout)
        return list(torch.arange(layout.num_tokens).split(1))


class WholeImage(Entities):
    """All tokens at once: plain diffusion, without order."""

    def __init__(self) -> None:
        pass

    def __call__(self, layout: Layout) -> list[Tensor]:
        _one_grid(self, layout)
        return [torch.arange(layout.num_tokens)]


class EachScale(Entities):
    """The image again and again, coarse to fine; each scale holds the whole latent, averaged down to its grid.

    Args:
        patch_nums: the grid of each scale, as a ScalePyramid's; halvings of the latent where not given.

    Raises:
        ValueError: there is no scale, or a side is below 1.
    """

    def __init__(self, *, patch_nums: list[int | list[int]] | None = None) -> None:
        check_sides(patch_nums, f"{_KEY}.patch_nums")
        self.patch_nums = patch_nums

    def __call__(self, layout: Layout) -> list[Tensor]:
        return list(torch.arange(layout.num_tokens).split(list(layout.sizes)))

    def layout_of(self, grid: tuple[int, ...]) -> Layout:
        return scales_of(self.patch_nums, grid, f"{_KEY}.patch_nums")

    def latent_pyramid(self, layout: Layout) -> Pyramid | None:
        # Refused here, scales that do not fit are refused by the key they were given by.
        self.layout_of(layout.finest)
        return ScalePyramid(patch_nums=self.patch_nums, residual=False)


def _check(name: str, value: int | list[int] | None) -> None:
    if isinstance(value, list) and not value:
        raise ValueError(f"{_KEY}.{name}: expected a number, or one for each axis, got []")
    for each in value if isinstance(value, list) else [] if value is None else [value]:
        require(f"{_KEY}.{name}", each, at_least=1)


def _one_grid(entities: Entities, layout: Layout) -> tuple[int, ...]:
    if len(layout.shapes) != 1:
        raise ValueError(
            f"{_KEY}: {type(entities).__name__} splits a single grid, the tokens lie on {layout}; choose EachScale, or "
            "a tokenizer of vectors on one grid (a KLTokenizer)"
        )
    return layout.shapes[0]


def _along(name: str, value: int | list[int], grid: tuple[int, ...]) -> list[int]:
    """One number per axis, none larger than the side."""
    numbers = value if isinstance(value, list) else [value] * len(grid)
    if len(numbers) != len(grid):
        told = "x".join(map(str, grid))
        raise ValueError(
            f"{_KEY}.{name}: expected a number, or one for each of the {len(grid)} axes of {told}, got {value}"
        )
    return [min(number, side) for number, side in zip(numbers, grid, strict=True)]


def _grouped(number_NA: Tensor) -> list[Tensor]:
    """Tokens of equal rows together, the rows in lexicographic order."""
    rows, entity_N, size = torch.unique(number_NA, dim=0, return_inverse=True, return_counts=True)
    del rows
    return list(entity_N.argsort(stable=True).split(size.tolist()))
