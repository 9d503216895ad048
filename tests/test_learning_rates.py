from __future__ import annotations

import math
import re

import pytest

from arlab.learning_rates import HoldThenCosine, HoldThenLinear, LearningRate, MultiStep
from arlab.optimization import AdamW
from tests.goldens import golden_table

# The recipe of each depth: learning rates end at, and decay ends at.
RECIPES = {"d16": (0.1, None), "d30": (0.01, 0.08)}


@pytest.mark.parametrize("depth", RECIPES)
def test_vars_tables(depth: str) -> None:
    table = golden_table("var_training")["lr_wd"][depth]
    final, final_weight_decay = RECIPES[depth]
    recipe = AdamW(
        learning_rate=table["peak_lr"],
        weight_decay=table["wd"],
        schedule=HoldThenLinear(final=final),
        final_weight_decay=final_weight_decay,
    )
    for step, rate, decay, kept in table["rows"]:
        assert recipe.learning_rate * recipe.factor(step, table["max_it"]) == pytest.approx(rate, rel=1e-9), step
        assert recipe.decay(step, table["max_it"]) == pytest.approx(decay, rel=1e-9), step
        assert kept == 0


def test_hold_then_linear_by_hand() -> None:
    """21 steps: 4 of warm-up, then 17, of which the first quarter (p = 0 to 3/16) is held."""
    schedule = HoldThenLinear(warmup=0.2, initial=0.2, hold=0.25, final=0.4)
    expected = {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8, 4: 1.0, 7: 1.0, 8: 1.0, 12: 0.8, 16: 0.6, 20: 0.4, 40: 0.4}
    for step, factor in expected.items():
        assert schedule.factor(step, 21) == pytest.approx(factor), step


def test_hold_then_cosine_by_hand() -> None:
    """xAR: 800 epochs, up in 100, at the peak until 600, half way down at 700, at 1e-5 of 4e-4 in the end."""
    schedule, last = HoldThenCosine(), 800 * 10
    for epoch, rate in {0: 0.0, 50: 2e-4, 100: 4e-4, 400: 4e-4, 600: 4e-4, 700: 2.05e-4, 800: 1e-5}.items():
        assert 4e-4 * schedule.factor(10 * epoch, last + 1) == pytest.approx(rate, rel=1e-2, abs=1e-12), epoch


def test_multi_step_by_hand() -> None:
    """NAR: 300 epochs of 7 steps, times 0.2 after 150, 200 and 250."""
    schedule = MultiStep()
    for epoch, factor in {0: 1.0, 149: 1.0, 150: 0.2, 199: 0.2, 200: 0.04, 249: 0.04, 250: 0.008, 299: 0.008}.items():
        for step in (7 * epoch, 7 * epoch + 6):
            assert schedule.factor(step, 2100) == pytest.approx(factor), epoch
    assert {MultiStep(milestones=()).factor(step, 5) for step in range(6)} == {1.0}


@pytest.mark.parametrize("schedule", [HoldThenLinear(), HoldThenLinear(warmup=0.99, hold=0.99), MultiStep()])
@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_short_runs_have_a_rate_too(schedule: LearningRate, total: int) -> None:
    assert all(0 < schedule.factor(step, total) <= 1 for step in range(total + 1))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: HoldThenLinear(warmup=1.0), "optimizer.schedule.warmup: must be at least 0 and below 1, got 1.0"),
        (lambda: HoldThenLinear(initial=-0.1), "optimizer.schedule.initial: must be from 0 to 1, got -0.1"),
        (lambda: HoldThenLinear(final=math.nan), "optimizer.schedule.final: must be from 0 to 1, got nan"),
        (
            lambda: MultiStep(milestones=(0.5, 0.4)),
            "optimizer.schedule.milestones: must rise between 0 and 1, got [0.5, 0.4]",
        ),
        (
            lambda: MultiStep(milestones=(0.5, 1.0)),
            "optimizer.schedule.milestones: must rise between 0 and 1, got [0.5, 1.0]",
        ),
        (lambda: MultiStep(drop=1.5), "optimizer.schedule.drop: must be from 0 to 1, got 1.5"),
        (
            lambda: AdamW(schedule=MultiStep(), warmup_steps=100),
            "optimizer.warmup_steps: has no effect beside a schedule, which has its own, got 100",
        ),
        (
            lambda: AdamW(schedule=MultiStep(), final_fraction=1.0),
            "optimizer.final_fraction: has no effect beside a schedule, which has its own, got 1.0",
        ),
        (
            lambda: AdamW(final_weight_decay=math.inf),
            "optimizer.final_weight_decay: must be from 0 to 1000000, got inf",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_settings_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()
