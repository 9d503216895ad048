"""What is read off an ordering's steps, where its cells lie, and how an arrow finds them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from arlab.drawing.board import lay_out
from arlab.drawing.colours import of_kind, of_step
from arlab.drawing.plan import Fed, Plan, Prediction, read_plan
from arlab.drawing.plan_film import plan_frames, shown_steps
from arlab.drawing.plan_picture import plan_picture
from arlab.orderings.hilbert import Hilbert
from arlab.orderings.masked import Masked
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_scale import NextScale
from arlab.orderings.ordering import Ordering, Prefix, condition_slots, slots
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.raster import Raster
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Kind, Layout, Progress, Read, Step
from arlab.rng import Rng


class Stuck(Raster):
    """Never comes to an end."""

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Iterator[Step]:  # type: ignore[override]
        first = next(super().steps(layout, prefix, rng))
        return (first for _ in itertools.count())


class Outside(Raster):
    """Predicts a token that is not on the grid."""

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Iterator[Step]:  # type: ignore[override]
        for step in super().steps(layout, prefix, rng):
            yield Step(step.feed, Read.own(step.read.token + 1, step.read.slot), step.progress)


class ByConfidence(Ordering):
    """Feeds the token it was most sure of; cannot go on without being told what was drawn."""

    def __init__(self) -> None:
        pass

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Iterator[Step]:  # type: ignore[override]
        token = torch.arange(layout.num_tokens)
        slot = torch.full_like(token, prefix.length - 1)
        step = Step(condition_slots(prefix), Read.own(token, slot), Progress(0, 2, 0, len(token), len(token)))
        drawn = yield step
        assert drawn is not None
        assert drawn.log_prob is not None
        sure = drawn.log_prob[0].argmax()[None]
        yield Step(slots(Kind.TOKEN, sure, sure, 1), Read.own(sure, torch.tensor([0])), step.progress)

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return next(self.steps(layout, prefix, rng))


def test_next_neighbor_on_paper() -> None:
    plan = read_plan(NextNeighbor(), (2, 3))
    assert plan.step_N == [0, 1, 2, 1, 2, 3]
    assert plan.headline == "NextNeighbor on 2 x 3: 6 tokens in 4 steps"
    assert plan.facts[0] == "tokens per step: 1 2 2 1"
    assert plan.facts[1] == "ways: 2, towards (0, 1) (1, 0)"
    first, second, *_, last = plan.frames
    nowhere, corner = Fed(Kind.COND, -1), Fed(Kind.TOKEN, 0)
    assert first.predictions == (Prediction(0, nowhere, 0), Prediction(0, nowhere, 1))
    assert second.fed == (corner,)
    assert second.predictions == (Prediction(1, corner, 0), Prediction(3, corner, 1))
    assert set(last.predictions) == {Prediction(5, Fed(Kind.TOKEN, 4), 0), Prediction(5, Fed(Kind.TOKEN, 2), 1)}


def test_levels_are_told() -> None:
    plan = read_plan(NextScale(patch_nums=[1, 2, 4]), (4, 4))
    assert plan.layout.shapes == ((1, 1), (2, 2), (4, 4))
    assert plan.facts[:2] == ["levels: 1 x 1, 2 x 2, 4 x 4", "tokens per step: 1 4 16"]
    assert plan.step_N == [0] + [1] * 4 + [2] * 16
    assert plan.frames[1].predictions[0] == Prediction(1, Fed(Kind.COMPUTED, 1), 0)


def test_one_drawing_of_what_differs_per_sample() -> None:
    plan = read_plan(RandomInstructed(), (2, 3))
    assert sorted(plan.step_N) == list(range(6))
    assert all(p.slot == Fed(Kind.LEARNED, p.token) for frame in plan.frames for p in frame.predictions)
    assert read_plan(Masked(set_sizes=CosineSizes(num_steps=3)), (2, 3)).last == 2


def test_an_ordering_that_chooses_is_told_what_was_drawn() -> None:
    plan = read_plan(ByConfidence(), (2, 2))
    assert [len(frame.tokens) for frame in plan.frames] == [4, 1]


@pytest.mark.parametrize(
    ("ordering", "grid", "message"),
    [
        (Raster(), (65, 64), "at most 4096 tokens can be drawn, 65 x 64 gives 4160"),
        (Raster(), (10**9, 10**9, 10**9), "at most 4096 tokens"),
        (NextScale(), (64, 64), "64 x 64 gives 5461"),
        (Stuck(), (2, 2), "more than twice as many steps as there are tokens"),
        (Outside(), (2, 2), "a step names tokens or slots that are not among 4 and 1"),
    ],
)
def test_what_cannot_be_drawn_is_refused(ordering: Ordering, grid: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_plan(ordering, grid)


LAYOUTS = (((3, 5),), ((100,),), ((3, 4, 5),), ((1, 1), (2, 2), (5, 7)), ((4,), (9,)), ((1, 300),), ((64, 64),))


@pytest.mark.parametrize("shapes", LAYOUTS)
def test_cells_do_not_overlap_and_lie_on_the_board(shapes: tuple[tuple[int, ...], ...]) -> None:
    layout = Layout(shapes)
    board = lay_out(layout)
    assert len(board.corners) == layout.num_tokens
    painted = np.zeros((board.height, board.width), dtype=int)
    for token in range(layout.num_tokens):
        left, top, right, bottom = board.box(token)
        assert 0 <= left < right <= board.width
        assert 0 <= top < bottom <= board.height
        painted[top:bottom, left:right] += 1
    assert painted.max() == 1
    assert painted.sum() == layout.num_tokens * board.cell**2


def test_frames_and_levels_have_panels_of_their_own() -> None:
    assert [text for _, _, text in lay_out(Layout(((2, 2, 2),))).labels] == ["t = 0", "t = 1"]
    assert [text for _, _, text in lay_out(Layout(((1, 1), (2, 2)))).labels] == ["level 0", "level 1"]
    assert lay_out(Layout(((2, 2),))).labels == ()


def test_a_neighbour_in_time_stands_behind() -> None:
    plan = read_plan(NextNeighbor(), (2, 2, 2))
    behind = [p for frame in plan.frames for p in frame.predictions if plan.from_another_frame(p)]
    assert {(p.slot.at, p.token) for p in behind} == {(0, 4), (1, 5), (2, 6), (3, 7)}
    assert {p.way for p in behind} == {2}
    flat = read_plan(NextNeighbor(), (2, 2))
    assert not any(flat.from_another_frame(p) for frame in flat.frames for p in frame.predictions)


def colours(picture: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.unique(picture.reshape(-1, 3), axis=0).tolist()}


def test_a_picture_shows_all_steps_and_kinds() -> None:
    masked = read_plan(Masked(set_sizes=CosineSizes(num_steps=3)), (2, 3))
    for plan in (read_plan(Hilbert(), (3, 4)), masked, read_plan(NextScale(), (4, 4))):
        shown = colours(plan_picture(plan))
        assert {of_step(step, plan.last) for step in plan.step_N} <= shown
        assert {of_kind(Kind(kind)) for kind in plan.rows.kind.tolist()} <= shown


@pytest.mark.parametrize("grid", [(1,), (1, 1), (1, 1, 1), (40,), (1, 9), (9, 1), (3, 2, 1)])
def test_every_shape_of_grid_is_drawn(grid: tuple[int, ...]) -> None:
    plan = read_plan(NextNeighbor(), grid)
    assert plan_picture(plan).ndim == 3
    assert len({frame.shape for frame in plan_frames(plan)}) == 1


def test_films_of_long_plans_keep_the_last_step() -> None:
    def shown(tokens: int) -> range:
        return shown_steps(read_plan(Raster(), (tokens,)))

    assert list(shown(5)) == [0, 1, 2, 3, 4]
    assert len(shown(256)) == 256
    assert len(shown(300)) == 150
    assert shown(300)[-1] == 299
    assert len(shown(2048)) <= 128
    assert shown(2048)[-1] == 2047


def test_a_frame_shows_what_is_known_and_what_is_predicted() -> None:
    plan: Plan = read_plan(Raster(), (2, 2))
    frames = list(plan_frames(plan))
    for step, frame in enumerate(frames):
        predicted = {of_step(number, plan.last) for number in range(4)} & colours(frame)
        assert predicted == {of_step(step, plan.last)}
