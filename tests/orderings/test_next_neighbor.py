from __future__ import annotations

import itertools

import pytest
import torch

from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.ordering import Prefix
from arlab.orderings.step import Kind, Layout, Step
from arlab.rng import SampleRng

GRIDS = ((5,), (1, 4), (2, 3), (4, 2), (3, 3), (2, 3, 2), (2, 2, 2, 2))


def steps(grid: tuple[int, ...], condition: int = 1) -> list[Step]:
    return list(NextNeighbor().steps(Layout((grid,)), Prefix(condition), SampleRng([0])))


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_step_d_draws_the_tokens_at_distance_d(grid: tuple[int, ...]) -> None:
    cells = list(itertools.product(*map(range, grid)))
    found = [[cells[token] for token in step.read.token.tolist()] for step in steps(grid)]
    assert len(found) == sum(grid) - len(grid) + 1
    assert found == [[cell for cell in cells if sum(cell) == distance] for distance in range(len(found))]


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_a_token_is_read_from_its_nearer_neighbours_alike(grid: tuple[int, ...]) -> None:
    cells = list(itertools.product(*map(range, grid)))
    for step in steps(grid)[1:]:
        fed = [cells[token] for token in step.feed.at.tolist()]
        for row, token in enumerate(step.read.token.tolist()):
            used = step.read.weight[row] > 0
            ways, slots = step.read.way[row][used].tolist(), step.read.slot[row][used].tolist()
            # Way 0 goes along the last axis.
            expected = {
                way: tuple(side - (axis == len(grid) - 1 - way) for axis, side in enumerate(cells[token]))
                for way in range(len(grid))
                if cells[token][len(grid) - 1 - way] > 0
            }
            assert {way: fed[slot] for way, slot in zip(ways, slots, strict=True)} == expected
            assert step.read.weight[row][used].tolist() == pytest.approx([1 / len(expected)] * len(expected))


def test_the_first_token_mixes_all_ways_of_the_last_condition_slot() -> None:
    first = steps((2, 3), condition=3)[0]
    assert first.read.slot.tolist() == [[2, 2]]
    assert first.read.way.tolist() == [[0, 1]]
    assert first.read.weight.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("causal", [False, True])
def test_the_words_of_a_text_see_all_others_or_those_before(causal: bool) -> None:
    ordering, layout = NextNeighbor(causal_condition=causal), Layout(((2, 2),))
    fed = ordering.training(layout, Prefix(3), SampleRng([0])).feed
    seen = ordering.see(fed, fed)
    assert seen[:3, :3].tolist() == (torch.ones(3, 3).tril() if causal else torch.ones(3, 3)).bool().tolist()
    assert torch.equal(seen[3:], NextNeighbor().see(fed, fed)[3:])
    assert not seen[:3, 3:].any()


def test_without_condition_slots_a_learned_vector_begins() -> None:
    first = steps((2, 3), condition=0)[0]
    assert first.feed.kind.tolist() == [Kind.LEARNED]
    assert NextNeighbor().num_learned(Layout(((2, 3),)), Prefix(0)) == 1


def test_slots_are_fed_once_and_the_last_tokens_never() -> None:
    fed = Step.cat(steps((4, 5))).feed
    tokens = fed.source[fed.kind == Kind.TOKEN]
    assert torch.equal(tokens.sort().values, torch.arange(19))


def test_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="NextNeighbor walks a single grid"):
        NextNeighbor().refuse(Layout(((1, 1), (2, 2))), None)
