"""Solvers on paths known in closed form, and the times at which they look."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from arlab.heads.solvers import Euler, Heun, Midpoint, Solver
from arlab.heads.time_draws import LogitNormalTime, TimeDraw, UniformTime
from arlab.heads.time_grids import EvenTimes, ShiftedTimes, TimeGrid

MEAN, STD = 0.7, 0.4
NOISE = torch.linspace(0.2, 2, 5, dtype=torch.float64)
ENDS = {"curved": 1 / (1 / NOISE + math.sin(1)), "growing": (NOISE + 2) / math.e - 1, "flow": MEAN + STD * NOISE}


def curved(x: Tensor, t: float) -> Tensor:
    """1 / x(0) = 1 / x(1) + sin 1."""
    return x.square() * math.cos(t)


def growing(x: Tensor, t: float) -> Tensor:
    """x = c e^t - t - 1."""
    return x + t


def flow(x: Tensor, t: float) -> Tensor:
    """Of Gaussian data N(μ, s²): x_t = (1 - t) μ + √(t² + (1 - t)² s²) z."""
    variance = t**2 + (1 - t) ** 2 * STD**2
    return -MEAN + (t - (1 - t) * STD**2) / variance * (x - (1 - t) * MEAN)


VELOCITIES = {each.__name__: each for each in (curved, growing, flow)}


def no_noise(number: int) -> Tensor:
    raise AssertionError("these solvers add none")


def error(solver: Solver, path: str, times: list[float]) -> float:
    return float((solver(VELOCITIES[path], NOISE, times, no_noise) - ENDS[path]).abs().max())


SOLVERS = pytest.mark.parametrize(
    ("solver", "order"), [(Euler(), 1), (Midpoint(), 2), (Heun(), 2)], ids=["Euler", "Midpoint", "Heun"]
)


@SOLVERS
@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("path", ["curved", "growing"])
def test_twice_as_many_steps_make_the_error_smaller_by_the_order(
    solver: Solver, order: int, path: str, shift: float
) -> None:
    errors = [error(solver, path, ShiftedTimes(num_steps=steps, shift=shift)()) for steps in (100, 200, 400)]
    for many, few in pairwise(errors):
        assert math.log2(many / few) == pytest.approx(order, abs=0.1)


@SOLVERS
def test_the_path_of_a_flow_is_followed_at_least_as_well(solver: Solver, order: int) -> None:
    errors = [error(solver, "flow", EvenTimes(num_steps=steps)()) for steps in (100, 200)]
    assert errors[1] < (1e-2 if order == 1 else 1e-4)
    assert math.log2(errors[0] / errors[1]) > order - 0.1


@pytest.mark.parametrize(("solver", "looks"), [(Euler(), 4), (Midpoint(), 8), (Heun(), 7)])
def test_looks_and_where_they_are(solver: Solver, looks: int) -> None:
    seen: list[float] = []

    def straight(x: Tensor, t: float) -> Tensor:
        seen.append(t)
        return torch.ones_like(x)

    # A straight path is followed exactly by any.
    torch.testing.assert_close(solver(straight, NOISE, EvenTimes(num_steps=4)(), no_noise), NOISE - 1)
    assert len(seen) == looks
    assert seen[0] == 1
    assert min(seen) > 0


def test_one_step_of_heun_is_eulers() -> None:
    assert torch.equal(Heun()(flow, NOISE, [1, 0], no_noise), Euler()(flow, NOISE, [1, 0], no_noise))


# ---- times


@pytest.mark.parametrize("steps", [1, 2, 25, 10000])
@pytest.mark.parametrize("shift", [0.001, 0.5, 1.0, 3.0, 1000.0])
def test_grids_lead_from_noise_to_data(steps: int, shift: float) -> None:
    for grid in (EvenTimes(num_steps=steps), ShiftedTimes(num_steps=steps, shift=shift)):
        times = grid()
        assert (times[0], times[-1], len(times)) == (1, 0, steps + 1)
        assert all(now > then for now, then in pairwise(times))


def test_shifts() -> None:
    assert ShiftedTimes(num_steps=4, shift=1.0)() == EvenTimes(num_steps=4)() == [1, 0.75, 0.5, 0.25, 0]
    assert ShiftedTimes(num_steps=2, shift=3.0)() == [1, 0.75, 0]
    # A shift of 1 / s undoes one of s.
    forth = ShiftedTimes(num_steps=2, shift=3.0)()[1]
    assert forth / 3 / (1 + (1 / 3 - 1) * forth) == pytest.approx(0.5)


UNIFORM = (torch.arange(20000) + 0.5) / 20000


def test_times_drawn_are_those_of_the_distribution() -> None:
    assert torch.equal(UniformTime()(UNIFORM), UNIFORM)
    logit = LogitNormalTime(mean=0.5, std=2.0)(UNIFORM).double().logit()
    assert float(logit.mean()) == pytest.approx(0.5, abs=1e-2)
    assert float(logit.std()) == pytest.approx(2.0, abs=1e-2)


@pytest.mark.parametrize("draw", [UniformTime(), LogitNormalTime(), LogitNormalTime(mean=20.0, std=20.0)])
def test_times_drawn_lie_between_data_and_noise(draw: TimeDraw) -> None:
    times = draw(torch.tensor([0.0, 0.5, 1 - 2**-24]))
    assert bool(((times >= 0) & (times <= 1)).all())


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (EvenTimes, {"num_steps": 0}, "times.num_steps: must be from 1 to 10000, got 0"),
        (ShiftedTimes, {"num_steps": 10**9}, "times.num_steps: must be from 1 to 10000, got"),
        (ShiftedTimes, {"shift": 0.0}, "times.shift: must be from 0.001 to 1000, got 0.0"),
        (ShiftedTimes, {"shift": float("nan")}, "times.shift: must be from 0.001 to 1000, got nan"),
        (LogitNormalTime, {"std": 0.0}, "time_draw.std: must be"),
        (LogitNormalTime, {"mean": float("inf")}, "time_draw.mean: must be from -20 to 20, got inf"),
    ],
)
def test_refusals(cls: type[TimeGrid] | type[TimeDraw], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**options)
