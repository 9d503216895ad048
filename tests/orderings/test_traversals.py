"""Orders of a single grid: each names every cell once, and walks where it says it walks."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from arlab.orderings.column import Column
from arlab.orderings.hilbert import Hilbert
from arlab.orderings.ordering import Prefix, Visibility
from arlab.orderings.raster import Raster
from arlab.orderings.snake import Snake
from arlab.orderings.step import Layout
from arlab.orderings.traversal import Traversal
from arlab.orderings.z_order import ZOrder
from arlab.rng import SampleRng

FAMILY = (Raster(), Column(), Snake(), Hilbert(), ZOrder())
ONE_STEP_AWAY = (Snake(), Hilbert())
RANDOM = settings(deadline=None, database=None, derandomize=True, max_examples=150)
GRIDS = st.one_of(
    st.tuples(st.integers(1, 300)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12)),
)


def name(value: object) -> str:
    return type(value).__name__ if isinstance(value, Traversal) else "x".join(map(str, value))  # type: ignore[call-overload]


def order(ordering: Traversal, *grid: int) -> list[int]:
    groups = ordering.groups(grid)
    assert all(group.shape == (1,) for group in groups)
    found: list[int] = torch.cat(groups).tolist()
    return found


def moves(ordering: Traversal, grid: tuple[int, ...]) -> Tensor:
    """How many cells away, along the axes, the next token lies."""
    cell_NA = Layout((grid,)).cell_NA[order(ordering, *grid)]
    return cell_NA.diff(dim=0).abs().sum(-1)


@pytest.mark.parametrize("ordering", FAMILY, ids=name)
@RANDOM
@given(grid=GRIDS)
def test_every_cell_is_named_once(ordering: Traversal, grid: tuple[int, ...]) -> None:
    assert sorted(order(ordering, *grid)) == list(range(math.prod(grid)))


@pytest.mark.parametrize("ordering", ONE_STEP_AWAY, ids=name)
@RANDOM
@given(grid=GRIDS)
def test_consecutive_tokens_are_neighbours(ordering: Traversal, grid: tuple[int, ...]) -> None:
    assert (moves(ordering, grid) == 1).all()


@pytest.mark.parametrize("ordering", ONE_STEP_AWAY, ids=name)
def test_consecutive_tokens_are_neighbours_on_every_small_grid(ordering: Traversal) -> None:
    flat = itertools.product(range(1, 14), repeat=2)
    cubes = itertools.product(range(1, 7), repeat=3)
    assert [grid for grid in (*flat, *cubes) if (moves(ordering, grid) != 1).any()] == []


SMALL = (
    (Raster(), (2, 3), [0, 1, 2, 3, 4, 5]),
    (Column(), (2, 3), [0, 3, 1, 4, 2, 5]),
    # Frame by frame, each column by column.
    (Column(), (2, 2, 3), [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]),
    (Column(), (4,), [0, 1, 2, 3]),
    (Snake(), (3, 3), [0, 1, 2, 5, 4, 3, 6, 7, 8]),
    # The second frame begins where the first has ended.
    (Snake(), (2, 2, 3), [0, 1, 2, 5, 4, 3, 9, 10, 11, 8, 7, 6]),
    (Snake(), (2, 3, 2), [0, 1, 3, 2, 4, 5, 11, 10, 8, 9, 7, 6]),
    (Snake(), (4,), [0, 1, 2, 3]),
    (Hilbert(), (2, 2), [0, 2, 3, 1]),
    (Hilbert(), (4, 4), [0, 1, 5, 4, 8, 12, 13, 9, 10, 14, 15, 11, 7, 6, 2, 3]),
    (Hilbert(), (3, 3), [0, 3, 6, 7, 8, 5, 4, 1, 2]),
    (Hilbert(), (1, 5), [0, 1, 2, 3, 4]),
    (Hilbert(), (5, 1), [0, 1, 2, 3, 4]),
    (Hilbert(), (5,), [0, 1, 2, 3, 4]),
    (Hilbert(), (2, 2, 2), [0, 2, 6, 4, 5, 7, 3, 1]),
    (ZOrder(), (2, 2), [0, 1, 2, 3]),
    (ZOrder(), (4, 4), [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]),
    (ZOrder(), (3, 3), [0, 1, 3, 4, 2, 5, 6, 7, 8]),
    (ZOrder(), (5,), [0, 1, 2, 3, 4]),
    (ZOrder(), (2, 2, 2), [0, 1, 2, 3, 4, 5, 6, 7]),
    (ZOrder(), (2, 1, 3), [0, 1, 3, 4, 2, 5]),
)


@pytest.mark.parametrize(("ordering", "grid", "expected"), SMALL, ids=name)
def test_small_grids(ordering: Traversal, grid: tuple[int, ...], expected: list[int]) -> None:
    assert order(ordering, *grid) == expected


@pytest.mark.parametrize("grid", [(6, 9), (9, 6), (7, 9), (8, 5, 3), (4, 4, 4), (3, 5, 5)], ids=name)
def test_hilbert_ends_at_the_end_of_the_longest_even_side(grid: tuple[int, ...]) -> None:
    cell_NA = Layout((grid,)).cell_NA[order(Hilbert(), *grid)]
    even = [side for side in grid if side % 2 == 0]
    assert cell_NA[0].tolist() == [0] * len(grid)
    assert sorted(cell_NA[-1].tolist()) == [0] * (len(grid) - 1) + [max(even or grid) - 1]


@pytest.mark.parametrize("ordering", [Hilbert(), ZOrder()], ids=name)
def test_blocks_of_a_power_of_two_are_finished_before_the_next(ordering: Traversal) -> None:
    cell_NA = Layout(((16, 16),)).cell_NA[order(ordering, 16, 16)]
    for side in (2, 4, 8):
        block_N = cell_NA[:, 0] // side * (16 // side) + cell_NA[:, 1] // side
        assert all((run == run[0]).all() for run in block_N.split(side * side))


def test_a_curve_on_four_axes_is_refused() -> None:
    with pytest.raises(ValueError, match="one to three axes"):
        Hilbert().groups((2, 2, 2, 2))


def test_a_long_axis_beside_short_ones_keeps_z_order_whole() -> None:
    assert order(ZOrder(), 1, 1, 70_000) == list(range(70_000))


@pytest.mark.parametrize("ordering", FAMILY, ids=name)
def test_they_are_causal_and_feed_the_token_before(ordering: Traversal) -> None:
    layout = Layout(((3, 5),))
    walked = order(ordering, 3, 5)
    step = ordering.training(layout, Prefix(1), SampleRng([0]))
    assert ordering.visibility(layout) is Visibility.CAUSAL
    assert step.read.token.tolist() == walked
    assert step.feed.at.tolist() == [-1, *walked[:-1]]
