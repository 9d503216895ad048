"""The published guidance schedules, by hand; what sampling does with a scale is tested with the sampler."""

from __future__ import annotations

import math
import re

import pytest

from arlab.generators.guidance import (
    ConstantGuidance,
    Guidance,
    IntervalGuidance,
    LinearGuidance,
    RampGuidance,
    ShareGuidance,
)
from arlab.orderings.step import Progress

VAR_SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


def scales(guidance: Guidance, sides: tuple[int, ...]) -> list[float]:
    """The scale at each step, one scale of side x side tokens after the other."""
    sizes = [side**2 for side in sides]
    known = [sum(sizes[:step]) for step in range(len(sizes))]
    return [
        guidance.scale(Progress(step, len(sizes), known[step], known[step] + sizes[step], sum(sizes)))
        for step in range(len(sizes))
    ]


def test_var() -> None:
    """(1 + t) c - t u with t = cfg · step / (steps - 1) is u + (1 + t) (c - u)."""
    expected = [1 + 1.5 * step / 9 for step in range(10)]
    assert scales(LinearGuidance(start=1, end=1 + 1.5), VAR_SIDES) == pytest.approx(expected)
    conditional, free, t = 0.7, -0.4, 0.5
    assert free + (1 + t) * (conditional - free) == pytest.approx((1 + t) * conditional - t * free)


@pytest.mark.parametrize(("after", "shares"), [(False, [0, 1 / 14, 5 / 14]), (True, [1 / 14, 5 / 14, 13 / 14])])
def test_share_of_the_tokens(after: bool, shares: list[float]) -> None:
    """RandAR counts the tokens known before a step, MAR those after it, all but the very last."""
    guidance = ShareGuidance(start=1.0, end=4.0, after=after)
    assert scales(guidance, (1, 2, 3)) == pytest.approx([1 + 3 * share for share in shares])
    assert guidance.active
    assert not ShareGuidance(end=1.0).active


def test_flexvar_is_vars_for_ten_steps_and_fewer() -> None:
    for sides in (VAR_SIDES, (1, 2, 4, 8, 16)):
        linear = LinearGuidance(start=1, end=3.5)
        assert scales(RampGuidance(cfg=2.5), sides) == pytest.approx(scales(linear, sides))


def test_flexvar_goes_on_beyond_ten_steps() -> None:
    found = scales(RampGuidance(cfg=2.7), (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16))
    assert len(found) == 13
    assert found == pytest.approx([1 + 0.3 * step for step in range(13)])


def test_flexvar_does_not_go_on_where_scales_are_larger_than_in_training() -> None:
    sides = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 23, 32)
    assert scales(RampGuidance(cfg=1.8), sides)[-3:] == pytest.approx([2.8, 2.8, 2.8])
    assert scales(RampGuidance(cfg=1.8, plateau=None), sides)[-3:] == pytest.approx([2.8, 3.0, 3.2])


def test_the_goldens_of_flexvar() -> None:
    """Six steps, cfg 2.5: t = cfg · step / 5."""
    assert scales(RampGuidance(cfg=2.5), (1, 2, 3, 5, 6, 8)) == pytest.approx([1, 1.5, 2, 2.5, 3, 3.5])


def test_llamagen_and_nar_stop_after_a_token() -> None:
    """LlamaGen's cfg_interval i leaves out the prefilled first token, NAR's counts all."""
    raster = [Progress(step, 6, step, step + 1, 6) for step in range(6)]
    # cfg_interval 2: tokens 0 (prefilled), 1, 2, 3 are guided.
    assert [ConstantGuidance(guidance_scale=2.0, until_token=3).scale(each) for each in raster] == [2.0] * 4 + [1.0] * 2
    # Diagonals of a 3 x 3 grid: 0, 1, 3, 6 and 8 tokens known.
    known = [0, 1, 3, 6, 8, 9]
    diagonals = [Progress(step, 5, known[step], known[step + 1], 9) for step in range(5)]
    nar = ConstantGuidance(guidance_scale=2.0, until_token=3)
    assert [nar.scale(each) for each in diagonals] == [2.0, 2.0, 2.0, 1.0, 1.0]


def test_an_interval_includes_its_ends() -> None:
    guidance = IntervalGuidance(guidance_scale=3.0, begin=0.25, end=0.5)
    assert scales(guidance, (1, 2, 3, 4, 5)) == [1.0, 3.0, 3.0, 1.0, 1.0]
    assert scales(IntervalGuidance(guidance_scale=3.0, begin=0, end=1), (1, 2, 3)) == [3.0] * 3
    # The only step is the first.
    assert scales(guidance, (4,)) == [1.0]
    assert scales(IntervalGuidance(guidance_scale=3.0, begin=0, end=0), (4,)) == [3.0]


@pytest.mark.parametrize(
    ("guidance", "active"),
    [
        (RampGuidance(cfg=0.0), False),
        (RampGuidance(), True),
        (IntervalGuidance(guidance_scale=1.0), False),
        (IntervalGuidance(), True),
    ],
)
def test_no_second_pass_where_nothing_is_guided(guidance: Guidance, active: bool) -> None:
    assert guidance.active is active
    if not active:
        assert set(scales(guidance, VAR_SIDES)) == {1.0}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RampGuidance(cfg=math.inf), "guidance.cfg: must be a finite number, got inf"),
        (lambda: RampGuidance(reach=0), "guidance.reach: must be at least 1, got 0"),
        (lambda: RampGuidance(plateau=-1), "guidance.plateau: must be at least 0, got -1"),
        (
            lambda: IntervalGuidance(guidance_scale=math.nan),
            "guidance.guidance_scale: must be a finite number, got nan",
        ),
        (lambda: IntervalGuidance(begin=-0.1), "guidance.begin: must be from 0 to 1, got -0.1"),
        (lambda: IntervalGuidance(begin=0.5, end=0.2), "guidance.end: must be from 0.5 to 1, got 0.2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_settings_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()
