from __future__ import annotations

import itertools

import pytest
import torch

from arlab.orderings.entities import Cells, EachScale, Entities, SingleTokens, Subsamples, WholeImage
from arlab.orderings.step import Layout

GRIDS = ((5,), (1, 4), (2, 3), (7, 7), (8, 6), (2, 3, 2), (1,))
ALL = (
    Cells(),
    Cells(shape=1),
    Cells(shape=3),
    Cells(shape=10**9),
    Cells(count=3),
    Cells(count=10**9),
    Subsamples(),
    Subsamples(stride=3),
    Subsamples(stride=10**9),
    SingleTokens(),
    WholeImage(),
    EachScale(),
)


@pytest.mark.parametrize("entities", ALL, ids=lambda e: f"{type(e).__name__}{e.spec()['init_args']}")
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_each_token_belongs_to_one(entities: Entities, grid: tuple[int, ...]) -> None:
    layout = entities.layout_of(grid)
    found = entities(layout)
    assert all(len(token) for token in found)
    assert sorted(torch.cat(found).tolist()) == list(range(layout.num_tokens))
    assert layout.finest == grid


def cut(entities: Entities, grid: tuple[int, ...]) -> list[list[int]]:
    return [token.tolist() for token in entities(Layout((grid,)))]


def test_xar_has_four_cells_in_raster_order_and_rasters_inside() -> None:
    cells = cut(Cells(), (16, 16))
    assert cells == cut(Cells(count=2), (16, 16)) == cut(Cells(shape=[8, 8]), (16, 16))
    assert [len(cell) for cell in cells] == [64] * 4
    for number, cell in enumerate(cells):
        down, right = 8 * (number // 2), 8 * (number % 2)
        assert cell == [16 * (down + y) + right + x for y, x in itertools.product(range(8), range(8))]


def test_a_shape_leaves_the_last_cells_smaller() -> None:
    assert [len(cell) for cell in cut(Cells(shape=[4, 4]), (7, 7))] == [16, 12, 12, 9]
    assert [len(cell) for cell in cut(Cells(shape=[1, 7]), (7, 7))] == [7] * 7
    assert cut(Cells(shape=2), (5,)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(("side", "count"), itertools.product(range(1, 12), range(1, 8)))
def test_a_count_makes_cells_alike_in_size(side: int, count: int) -> None:
    sizes = [len(cell) for cell in cut(Cells(count=count), (side,))]
    assert len(sizes) == min(count, side)
    assert max(sizes) - min(sizes) <= 1


def test_subsamples_lie_a_stride_apart() -> None:
    assert cut(Subsamples(), (4, 4)) == [[0, 2, 8, 10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15]]
    assert cut(Subsamples(stride=[1, 3]), (2, 4)) == [[0, 3, 4, 7], [1, 5], [2, 6]]


def test_frames_are_cells() -> None:
    frames = cut(Cells(shape=[1, 99, 99]), (3, 2, 2))
    assert frames == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_scales_are_levels_that_each_hold_the_whole_latent() -> None:
    entities = EachScale(patch_nums=[1, 2, 5, 8])
    pyramid = entities.latent_pyramid(Layout(((4, 8),)))
    assert pyramid is not None
    assert not pyramid.residual
    layout = pyramid.layout((4, 8))
    assert layout == entities.layout_of((4, 8)) == Layout(((1, 1), (1, 2), (3, 5), (4, 8)))
    assert [len(token) for token in entities(layout)] == list(layout.sizes)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="not both"):
        Cells(shape=2, count=2)
    for wrong in (0, -1, [2, 0], []):
        with pytest.raises(ValueError, match=r"ordering\.entities\.shape"):
            Cells(shape=wrong)
        with pytest.raises(ValueError, match=r"ordering\.entities\.stride"):
            Subsamples(stride=wrong)
    with pytest.raises(ValueError, match=r"ordering\.entities\.patch_nums: the last level is \[4, 4\]"):
        EachScale(patch_nums=[1, 4]).latent_pyramid(Layout(((5, 5),)))
    with pytest.raises(ValueError, match="one for each of the 1 axes of 6, got"):
        cut(Cells(shape=[2, 2]), (6,))
    for entities in (Cells(), Subsamples(), SingleTokens(), WholeImage()):
        with pytest.raises(ValueError, match="splits a single grid"):
            entities(Layout(((1, 1), (2, 2))))
