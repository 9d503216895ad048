from __future__ import annotations

import pytest
import torch

from arlab.orderings.ordering import Prefix, Visibility
from arlab.orderings.region_parallel import RegionParallel
from arlab.orderings.step import Kind, Layout, Step
from arlab.rng import BatchRng
from tests.tiny import tiny_generator


def steps(ordering: RegionParallel, grid: tuple[int, ...], condition: int = 1) -> list[Step]:
    return list(ordering.steps(Layout((grid,)), Prefix(condition), BatchRng(0, 1)))


def test_the_first_of_every_region_then_the_next_of_all() -> None:
    """4 x 6 in regions of 2 x 3."""
    found = [step.read.token.tolist() for step in steps(RegionParallel(), (4, 6))]
    assert found == [[0], [3], [12], [15], *([t, t + 3, t + 12, t + 15] for t in (1, 2, 6, 7, 8))]


def test_a_slot_predicts_the_next_token_of_its_own_region() -> None:
    """After the first of every region, of which only the last is fed with the others, special vectors ask."""
    plan = steps(RegionParallel(), (4, 6))
    regions = {token: (token // 6 // 2, token % 6 // 3) for token in range(24)}
    ask = plan[4]
    assert ask.feed.kind.tolist() == [Kind.TOKEN] + [Kind.LEARNED] * 3
    assert (ask.feed.at.tolist(), ask.feed.source.tolist()) == ([15, -1, -1, -1], [15, 0, 1, 2])
    for step in plan[5:]:
        fed, drawn = step.feed.source[step.read.slot[:, 0]].tolist(), step.read.token.tolist()
        assert [regions[token] for token in fed] == [regions[token] for token in drawn]


@pytest.mark.parametrize(
    ("grid", "regions", "count"),
    [
        ((16, 16), (2, 2), 4 + 63),
        ((16, 16), (4, 4), 16 + 15),
        ((24, 24), (2, 2), 147),
        ((4, 6), (1, 3), 3 + 7),
        ((4, 6), (1, 1), 24),
        ((2, 3), (2, 3), 6),
        ((12,), (3,), 3 + 3),
        ((2, 4, 4), (1, 2, 2), 4 + 7),
    ],
    ids=str,
)
def test_steps(grid: tuple[int, ...], regions: tuple[int, ...], count: int) -> None:
    """R + (N - R) / R; 147 are PAR-4x's of 24 x 24."""
    assert len(steps(RegionParallel(regions=regions), grid)) == count


def test_two_along_each_even_axis_by_default() -> None:
    assert [len(step.read) for step in steps(RegionParallel(), (3, 4))] == [1, 1] + [2] * 5
    assert [len(step.read) for step in steps(RegionParallel(), (3, 5))] == [1] * 15


def test_one_region_is_the_order_of_rows() -> None:
    assert torch.equal(Step.cat(steps(RegionParallel(regions=(1, 1)), (3, 4))).read.token, torch.arange(12))


def test_without_condition_slots_a_vector_of_its_own_begins() -> None:
    plan = steps(RegionParallel(), (2, 4), condition=0)
    assert plan[0].feed.kind.tolist() == [Kind.LEARNED]
    fed = Step.cat(plan).feed
    learned = fed.source[fed.kind == Kind.LEARNED].tolist()
    assert sorted(learned) == list(range(RegionParallel().num_learned(Layout(((2, 4),)), Prefix(0))))
    assert RegionParallel().visibility(Layout(((2, 4),))) is Visibility.BY_STEP


def test_likelihood_sums_to_one() -> None:
    images = torch.cartesian_prod(*[torch.arange(2)] * 8)
    generator = tiny_generator(RegionParallel(), grid=(2, 4), codebook_size=2)
    log_prob = generator.log_prob(images, torch.ones(256, dtype=torch.long))
    assert log_prob is not None
    assert float(log_prob.double().sum(-1).exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("grid", "regions", "message"),
    [
        (
            (3, 4),
            (2, 2),
            r"\[2, 2\] do not divide the grid 3x4; choose for each axis one of 1, 3 along 3; 1, 2, 4 along 4",
        ),
        ((4, 4), (2,), r"\[2\] do not divide the grid 4x4; choose for each axis"),
        ((4,), (8,), r"\[8\] do not divide the grid 4; choose for each axis one of 1, 2, 4 along 4"),
    ],
)
def test_regions_that_do_not_divide_are_refused(grid: tuple[int, ...], regions: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=r"ordering\.regions: " + message):
        RegionParallel(regions=regions).refuse(Layout((grid,)), None)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="RegionParallel walks a single grid"):
        RegionParallel().refuse(Layout(((1, 1), (2, 2))), None)
    for wrong in ((), (0, 2), (-1,)):
        with pytest.raises(ValueError, match=r"ordering\.regions: expected one number of at least 1 per axis"):
            RegionParallel(regions=wrong)
