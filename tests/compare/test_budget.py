"""Budgets: what they say, how many steps they are, and validations in proportion."""

from __future__ import annotations

import pytest

from arlab.compare.budget import FlopBudget, StepBudget, parse_budget, validation_interval


def never() -> float:
    raise AssertionError("steps need no arithmetic")


def test_steps_are_what_they_say() -> None:
    assert parse_budget("steps=2000") == StepBudget(2000)
    assert StepBudget(2000).steps(never) == 2000
    assert str(StepBudget(2000)) == "steps=2000"


@pytest.mark.parametrize(("total", "one", "steps"), [(1e3, 100.0, 10), (999.0, 100.0, 9), (100.0, 100.0, 1)])
def test_operations_are_as_many_whole_steps_as_they_reach_for(total: float, one: float, steps: int) -> None:
    assert FlopBudget(total).steps(lambda: one) == steps
    assert parse_budget(f"flops={total}") == FlopBudget(total)


def test_operations_that_reach_for_no_step_or_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match=r"budget: flops=99 is not enough for one step, which takes 100 FLOP"):
        FlopBudget(99.0).steps(lambda: 100.0)
    with pytest.raises(ValueError, match=r"budget: flops=1e\+15 are 1e\+13 steps of 100 FLOP, more than 1000000000"):
        FlopBudget(1e15).steps(lambda: 100.0)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("2000", "budget: expected steps=N or flops=X, got '2000'"),
        ("minutes=5", "budget: expected steps=N or flops=X, got 'minutes=5'"),
        ("", "budget: expected steps=N or flops=X, got ''"),
        ("steps=", "budget: steps: expected a whole number, got ''"),
        ("steps=1e3", "budget: steps: expected a whole number, got '1e3'"),
        ("steps=0", "budget: steps: must be from 1 to 1000000000, got 0"),
        ("steps=-4", "budget: steps: must be from 1 to 1000000000, got -4"),
        ("flops=many", "budget: flops: expected a number such as 1e15, got 'many'"),
        ("flops=0", "budget: flops: must be positive, got 0.0"),
        ("flops=nan", "budget: flops: must be positive, got nan"),
        ("flops=inf", "budget: flops: must be positive, got inf"),
    ],
)
def test_a_mistake_is_told_with_what_was_given(word: str, message: str) -> None:
    with pytest.raises(ValueError, match="budget") as told:
        parse_budget(word)
    assert str(told.value) == message


@pytest.mark.parametrize("own_interval", [1, 7, 300, 400, 899, 900, 5000])
@pytest.mark.parametrize("batches", [1, 2, 3, 10, 899, 900, 2000, 12345])
def test_a_run_of_another_length_is_validated_as_often_as_its_own(batches: int, own_interval: int) -> None:
    def validations(batches: int, interval: int) -> int:
        """At each interval, and at the end anyhow."""
        return -(-batches // interval)

    interval, own = validation_interval(batches, 900, own_interval), validations(900, own_interval)
    assert 1 <= interval <= batches
    assert validations(batches, interval) <= own
    # Less often only where a run cannot be cut evenly into so many pieces.
    if batches >= own * own:
        assert validations(batches, interval) == own


def test_intervals_that_divide_a_run_grow_with_it() -> None:
    assert [validation_interval(batches, 900, 300) for batches in (900, 1800, 2000)] == [300, 600, 667]
