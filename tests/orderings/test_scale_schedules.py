from __future__ import annotations

import pytest

from arlab.orderings.next_scale import NextScale
from arlab.orderings.scale_schedules import RandomScales
from arlab.orderings.step import Layout
from arlab.rng import BatchRng

PUBLISHED = Layout(tuple((side, side) for side in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)))


def drawn(schedule: RandomScales, layout: Layout, count: int = 200) -> list[Layout]:
    return [schedule.draw(layout, BatchRng(seed, 3)) for seed in range(count)]


def test_published_ranges() -> None:
    for layout in drawn(RandomScales(default_share=0.0, drop=(), max_tokens=10**6), PUBLISHED):
        sides = [shape[0] for shape in layout.shapes]
        assert sides[:2] == [1, 2]
        assert sides[-1] == 16
        assert sum(3 <= side <= 10 for side in sides) == 5
        assert sum(11 <= side <= 15 for side in sides) == 2
        assert sides == sorted(set(sides))


def test_never_more_tokens_than_allowed() -> None:
    layouts = drawn(RandomScales(), PUBLISHED)
    assert max(layout.num_tokens for layout in layouts) <= 680
    assert len(set(layouts)) > 100
    # Leaving out one of the last four may leave out the finest, as published.
    assert {layout.finest for layout in layouts} > {(16, 16)}


def test_how_often_the_layout_itself_is_drawn() -> None:
    layouts = drawn(RandomScales(default_share=0.3), PUBLISHED, 400)
    assert 0.2 < sum(layout == PUBLISHED for layout in layouts) / 400 < 0.4
    assert set(drawn(RandomScales(default_share=1.0), PUBLISHED, 5)) == {PUBLISHED}
    assert PUBLISHED not in drawn(RandomScales(default_share=1.0, max_tokens=300), PUBLISHED, 20)


@pytest.mark.parametrize("finest", [(1, 1), (1, 2), (3, 2), (2, 6), (7, 7), (5,), (2, 3, 4)], ids=str)
def test_any_grid(finest: tuple[int, ...]) -> None:
    for layout in drawn(RandomScales(), NextScale().layout_of(finest), 50):
        assert all(side <= most for side, most in zip(layout.finest, finest, strict=True))


def test_the_same_seed_draws_the_same() -> None:
    assert drawn(RandomScales(), PUBLISHED, 20) == drawn(RandomScales(), PUBLISHED, 20)


def test_few_levels_do_not_starve_the_finest() -> None:
    layouts = drawn(RandomScales(), Layout(((1, 1), (2, 2), (4, 4), (8, 8), (16, 16))))
    assert sum(layout.finest == (16, 16) for layout in layouts) > 120


@pytest.mark.parametrize("ranges", [[], [(1, 3, 0)], [(1, 2000, 1)], [(3, 2, 1)], [(0, 2, 1)], [(1, 2, 3)]])
def test_ranges_that_make_no_sense(ranges: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match=r"ordering\.schedule\.ranges: "):
        RandomScales(ranges=ranges)
