"""DPM-Solver++ where the flow from noise to data is known: for normal data every point keeps its quantile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from arlab.heads.diffusion import DiffusionHead
from arlab.heads.diffusion_samplers import DDIM, Ancestral, DiffusionSampler, DPMSolver2M, Guess
from arlab.heads.diffusion_variances import SmallVariance
from arlab.heads.noise_levels import NoiseLevel, NoiseLevels
from arlab.heads.noise_schedules import CosineSchedule, LinearSchedule, NoiseSchedule
from tests.heads.test_diffusion import drawn, exact

MEAN, DEVIATION = 0.7, 0.5


def spread(level: NoiseLevel) -> Tensor:
    return ((level.signal * DEVIATION).square() + level.sigma.square()).sqrt()


def data_in(x: Tensor, level: NoiseLevel) -> Guess:
    """E[x_0 | x_t] of N(0.7, 0.5²)."""
    gain = level.signal * DEVIATION**2 / spread(level).square()
    return Guess(MEAN + gain * (x - level.signal * MEAN), torch.zeros_like(x))


def fresh() -> Tensor:
    raise AssertionError("no noise is added on the way")


def walked(sampler: DiffusionSampler, levels: Sequence[NoiseLevel], x: Tensor) -> Tensor:
    """From the last level to the first, as heads walk."""
    before: tuple[Guess, NoiseLevel] | None = None
    for level in reversed(levels[1:]):
        guess = data_in(x, level)
        ahead = guess if before is None else sampler.ahead(guess, level, before)
        x, before = sampler.step(x, ahead, level, fresh, 1.0), (guess, level)
    return x


def off(sampler: DiffusionSampler, schedule: NoiseSchedule, steps: int) -> float:
    """The largest error of a walk from level 940 to level 300 in so many steps."""
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    index = 300 + torch.arange(steps + 1) * (640 // steps)
    levels = NoiseLevels(schedule.betas(), index).all(z)
    first, last = levels[-1], levels[0]
    x = walked(sampler, levels, first.signal * MEAN + spread(first) * z)
    return float((x - last.signal * MEAN - spread(last) * z).abs().max())


@pytest.mark.parametrize("schedule", [LinearSchedule(), CosineSchedule()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize(("sampler", "order"), [(DDIM(), 1), (DPMSolver2M(), 2)], ids=["ddim", "2m"])
def test_errors_fall_by_its_order(sampler: DiffusionSampler, order: int, schedule: NoiseSchedule) -> None:
    errors = [off(sampler, schedule, steps) for steps in (20, 40, 80, 160)]
    for coarse, fine in itertools.pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.06)


def test_it_is_its_formula() -> None:
    """x' = (σ' / σ) x - √ᾱ' (e^(-h) - 1) D."""
    x, now, former = torch.randn(3, 5, 1, dtype=torch.float64)
    _, low, level, high = NoiseLevels(LinearSchedule().betas(), torch.tensor([50, 300, 480, 700])).all(x)
    h, h_before = (
        float(torch.log(end.signal / end.sigma) - torch.log(start.signal / start.sigma))
        for start, end in ((level, low), (high, level))
    )
    looks = [Guess(data, torch.zeros_like(data)) for data in (now, former)]
    sampler = DPMSolver2M()
    got = sampler.step(x, sampler.ahead(looks[0], level, (looks[1], high)), level, fresh, 1.0)
    data = now + h / (2 * h_before) * (now - former)
    torch.testing.assert_close(got, low.sigma / level.sigma * x - low.signal * math.expm1(-h) * data)


def test_its_first_step_and_any_along_one_thought_are_those_of_ddim() -> None:
    x, data = torch.randn(2, 5, 1, dtype=torch.float64)
    *_, low, level, high = NoiseLevels(LinearSchedule().betas(), torch.tensor([50, 300, 480, 700])).all(x)
    guess = Guess(data, torch.zeros_like(data))
    for ahead in (guess, DPMSolver2M().ahead(guess, level, (guess, high))):
        made = [sampler.step(x, ahead, level, fresh, 1.0) for sampler in (DPMSolver2M(), DDIM())]
        torch.testing.assert_close(*made)
    # Samplers of first order go where they were told.
    assert DDIM().ahead(guess, level, (guess, high)) is guess is Ancestral().ahead(guess, low, (guess, high))


def test_its_levels_leave_out_the_first() -> None:
    levels = DPMSolver2M().levels
    assert levels(1000, 25).tolist() == [*range(40, 481, 40), *range(519, 1000, 40)]
    assert levels(1000, 1).tolist() == [999]
    assert levels(4, 3).tolist() == [1, 2, 3]
    assert levels(4, 4).tolist() == [0, 1, 2, 3]
    for number in range(1, 51):
        index = levels(50, number)
        assert len(index) == number
        assert number == 1 or bool((index.diff() > 0).all())


def test_few_steps_of_it_do() -> None:
    """A head's draws in 12 steps: far nearer than DDIM's to what endless steps come to."""
    spreads = []
    for sampler in (DPMSolver2M(), DDIM()):
        head = exact(torch.tensor([[MEAN]]), DEVIATION, variance=SmallVariance(), sampler=sampler, num_steps=12)
        x = drawn(head, 2000)
        assert float(x.mean()) == pytest.approx(MEAN, abs=0.04)
        spreads.append(abs(float(x.std()) - DEVIATION))
    assert spreads[0] < 0.03 < 0.06 < spreads[1]


def test_temperature_is_of_the_noise_it_begins_with() -> None:
    noise = torch.randn(4)
    assert torch.equal(DPMSolver2M().begin(noise, 0.5), 0.5 * noise)
    assert DiffusionHead(sampler=DPMSolver2M(), num_steps=1000).sampled.index.tolist() == list(range(1000))
