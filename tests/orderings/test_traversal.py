from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arlab.orderings.ordering import Prefix, Visibility
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout
from arlab.orderings.traversal import Traversal
from arlab.rng import BatchRng

GRID = Layout(((2, 3),))
RNG = BatchRng(0, 1)
CPU = torch.device("cpu")


class FromTheEnd(Traversal):
    """From the last cell to the first."""

    def __init__(self) -> None:
        pass

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        return [torch.tensor([index]) for index in reversed(range(grid[0] * grid[1]))]


class Columns(Traversal):
    """A column a step."""

    def __init__(self) -> None:
        pass

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        cells = torch.arange(grid[0] * grid[1]).view(grid)
        return list(cells.unbind(1))


def test_next_token_feeds_the_token_before() -> None:
    step = FromTheEnd().training(GRID, Prefix(2), RNG)
    assert step.read.token.tolist() == [5, 4, 3, 2, 1, 0]
    # The last token predicts nothing and is not fed.
    assert step.feed.kind.tolist() == [Kind.COND] * 2 + [Kind.TOKEN] * 5
    assert step.feed.source.tolist() == [0, 1, 5, 4, 3, 2, 1]
    assert step.feed.at.tolist() == [-1, -1, 5, 4, 3, 2, 1]
    assert step.read.slot[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert FromTheEnd().visibility(GRID) is Visibility.CAUSAL
    assert FromTheEnd().num_learned(GRID, Prefix(2)) == 0


def test_without_condition_a_learned_vector_starts() -> None:
    step = next(Raster().steps(GRID, Prefix(0), RNG))
    assert step.feed.kind.tolist() == [Kind.LEARNED]
    assert step.feed.at.tolist() == [-1]
    assert Raster().num_learned(GRID, Prefix(0)) == 1


def test_groups_are_asked_for_by_queries_that_leave() -> None:
    first, second, third = Columns().steps(GRID, Prefix(1), RNG)
    assert first.feed.kind.tolist() == [Kind.COND, Kind.LEARNED, Kind.LEARNED]
    assert second.feed.kind.tolist() == [Kind.TOKEN] * 2 + [Kind.LEARNED] * 2
    assert second.feed.at.tolist() == [0, 3, 1, 4]
    assert second.feed.keep.tolist() == [True, True, False, False]
    assert second.read.token.tolist() == [1, 4]
    assert second.read.slot[:, 0].tolist() == [2, 3]
    assert third.progress is not None
    assert (third.progress.known, third.progress.drawn, third.progress.steps) == (4, 6, 3)
    assert Columns().visibility(GRID) is Visibility.RULE


def test_queries_see_each_other_and_later_steps_do_not_see_them() -> None:
    fed = Columns().training(GRID, Prefix(1), RNG).feed
    sees = Columns().see(fed, fed)
    queries = (fed.kind == Kind.LEARNED) & (fed.step == 1)
    later = fed.step == 2
    assert sees[queries][:, queries].all()
    assert not sees[later][:, queries].any()
    known = (fed.kind == Kind.TOKEN) & (fed.step == 1)
    assert sees[queries][:, known].all()
    # Tokens do not look at the queries behind them.
    assert not sees[known][:, queries].any()


def test_static_plans_are_made_once_per_layout() -> None:
    ordering = FromTheEnd()
    once = list(ordering.plan(GRID, Prefix(1), RNG, CPU))
    again = list(ordering.plan(Layout(((2, 3),)), Prefix(1), RNG, CPU))
    other = list(ordering.plan(Layout(((3, 2),)), Prefix(1), RNG, CPU))
    assert all(a is b for a, b in zip(once, again, strict=True))
    assert once[0] is not other[0]
    assert ordering.teacher(GRID, Prefix(1), RNG, CPU) is ordering.teacher(GRID, Prefix(1), RNG, CPU)
    assert ordering.teacher(GRID, Prefix(1), RNG, CPU) is not ordering.teacher(GRID, Prefix(2), RNG, CPU)


def test_several_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="Columns walks a single grid"):
        next(Columns().steps(Layout(((1, 1), (2, 2))), Prefix(1), RNG))
