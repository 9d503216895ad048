"""Bold is earned: intervals made by hand, exact counts, seeds, groups of rows that compare."""

from __future__ import annotations

import math

import pytest

from arlab.compare.columns import Column, columns_of
from arlab.compare.ranking import Result, best, half_width, result
from arlab.compare.record import Row
from tests.compare import rows as made


def column(key: str, rows: list[Row] | None = None) -> Column:
    return next(each for each in columns_of(rows or [made.row()]) if each.key == key)


def of(value: float, half: float | None = None) -> Result:
    return Result(value, None, None, 1, 1) if half is None else Result(value, value - half, value + half, 1, 1)


def winners(key: str, *results: Result | None, alike: tuple[object, ...] | None = None) -> set[int]:
    return set(best(column(key), results, alike or ("all",) * len(results)))  # type: ignore[arg-type]


def test_the_best_is_bold_only_where_its_interval_meets_no_other() -> None:
    assert winners("FID@1000", of(4.0, 0.2), of(5.0, 0.2)) == {0}
    assert winners("FID@1000", of(4.0, 0.6), of(5.0, 0.6)) == set()
    assert winners("FID@1000", of(4.0, 0.5), of(5.0, 0.5)) == set()  # they touch
    # Not only the runner-up counts: the third is worse in value but its interval is wide.
    assert winners("FID@1000", of(4.0, 0.2), of(5.0, 0.2), of(6.0, 2.5)) == set()


def test_the_better_end_is_that_of_the_meaning() -> None:
    assert winners("recall", of(0.4, 0.01), of(0.6, 0.01)) == {1}
    assert winners("kid", of(0.4, 0.01), of(0.6, 0.01)) == {0}
    assert winners("real_agreement", of(0.4, 0.01), of(0.6, 0.01)) == set()
    assert winners("train_distance", of(0.4, 0.01), of(0.6, 0.01)) == set()


def test_a_figure_without_an_interval_is_never_bold_nor_lets_another_be() -> None:
    assert winners("FID@1000", of(4.0), of(5.0, 0.1)) == set()
    assert winners("FID@1000", of(4.0, 0.1), of(5.0)) == set()
    assert winners("latency", of(4.0), of(5.0)) == set()


def test_counts_are_exact() -> None:
    assert winners("decoding_steps", of(5), of(49)) == {0}
    assert winners("decoding_steps", of(5), of(5), of(49)) == set()
    assert winners("parameters", of(5), of(49)) == set()


def test_one_row_is_best_of_nothing_and_missing_figures_do_not_compete() -> None:
    assert winners("FID@1000", of(4.0, 0.1)) == set()
    assert winners("FID@1000", of(4.0, 0.1), None) == set()
    assert winners("FID@1000", None, of(4.0, 0.1), of(5.0, 0.1)) == {1}


def test_rows_compare_within_their_group_only() -> None:
    results = (of(4.0, 0.1), of(5.0, 0.1), of(1.0, 0.1), of(2.0, 0.1))
    assert winners("nats_per_token", *results, alike=("a", "a", "b", "b")) == {0, 2}
    assert winners("nats_per_token", *results, alike=("a", "a", None, None)) == {0}


def test_seeds_give_the_mean_and_the_t_interval() -> None:
    values = (1.0, 2.0, 4.0)
    assert half_width(values) == pytest.approx(4.302653 * math.sqrt(7 / 3) / math.sqrt(3), rel=1e-6)
    row = made.row("r", *(made.row_of("s", {"FID@1000": made.figure(value, 0.1)}).members[0] for value in values))
    found = result(row, column("FID@1000"))
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.value == pytest.approx(7 / 3)
    assert found.high - found.value == pytest.approx(half_width(values))
    assert found.value - found.low == pytest.approx(half_width(values))
    assert (found.seeds, found.of) == (3, 3)


def test_one_run_keeps_its_own_interval_and_so_do_seeds_that_agree() -> None:
    one = made.row_of("r", {"FID@1000": made.figure(4.0, 0.1)})
    assert result(one, column("FID@1000")) == Result(4.0, 3.9, 4.1, 1, 1)
    three = made.row("r", *one.members * 3)
    assert result(three, column("FID@1000")) == Result(4.0, 3.9, 4.1, 3, 3)


def test_seeds_that_lack_a_figure_are_told() -> None:
    having, lacking = made.row_of("r", {"FID@1000": made.figure(4.0, 0.1)}), made.row_of("r", {})
    assert result(made.row("r", *having.members, *lacking.members), column("FID@1000")) == Result(4.0, 3.9, 4.1, 1, 2)
    assert result(lacking, column("FID@1000")) is None
    nothing = made.row_of("r", {"FID@1000": made.figure(math.nan)})
    assert result(nothing, column("FID@1000", [having])) is None
