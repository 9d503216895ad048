from __future__ import annotations

import math
import re

import pytest
import torch

from arlab.configurable import from_spec
from arlab.generators.sampler import Sampler
from arlab.generators.schedules import Fading, PerStep, Ramp, Schedule, SmoothRamp
from arlab.heads.head import Sampling
from arlab.orderings.step import Progress
from tests.tiny import tiny_generator


def at(schedule: Schedule, steps: int) -> list[float]:
    return [schedule.at(Progress(step, steps, step, step + 1, steps)) for step in range(steps)]


def test_by_hand() -> None:
    assert at(PerStep(values=(1.1, 1.0, 0.9)), 5) == [1.1, 1.0, 0.9, 0.9, 0.9]
    assert at(PerStep(values=(1.1, 1.0, 0.9)), 2) == [1.1, 1.0]
    assert at(Ramp(start=2.0, end=1.0), 5) == pytest.approx([2.0, 1.75, 1.5, 1.25, 1.0])
    half = 0.5**0.5
    assert at(SmoothRamp(start=3.0, end=1.0), 5) == pytest.approx([3.0, 2 + half, 2.0, 2 - half, 1.0])
    assert at(Ramp(start=2.0, end=1.0), 1) == at(SmoothRamp(start=2.0, end=1.0), 1) == [2.0]
    assert at(Fading(temperature=4.0), 4) == pytest.approx([3.0, 2.0, 1.0, 0.0])
    softened = [3.0 * 1.1, 2.0 * 0.9, 1.0 * 0.7, 0.0]
    assert at(Fading(temperature=4.0, softened=True), 4) == pytest.approx(softened)


def test_a_sampler_asks_them_at_each_step() -> None:
    sampler = Sampler(temperature=Ramp(start=1.0, end=0.0), top_k=PerStep(values=(900, 0.4, 0)), top_p=0.9)
    found = [sampler.sampling(Progress(step, 3, step, step + 1, 3)) for step in range(3)]
    # 0.4 is not taken for 0, which stands for all tokens.
    assert found == [Sampling(1.0, 900, 0.9), Sampling(0.5, 1, 0.9), Sampling(0.0, 0, 0.9)]
    assert from_spec(sampler.spec(), Sampler).spec() == sampler.spec()


def test_equal_numbers_at_every_step_are_one_number() -> None:
    generator, labels, seeds = tiny_generator(), torch.tensor([0, 1, 0, 1]), range(4)
    one = Sampler(temperature=0.7, top_k=2).sample(generator, labels, seeds=seeds).tokens
    same = Sampler(temperature=PerStep(values=(0.7,)), top_k=Ramp(start=2, end=2))
    assert torch.equal(same.sample(generator, labels, seeds=seeds).tokens, one)


def test_only_the_steps_meant_are_changed() -> None:
    """Greedy from the fourth token on: the first three are those of free sampling, the others follow from them."""
    generator, count = tiny_generator(), 40
    labels = torch.zeros(count, dtype=torch.long)
    free = Sampler().sample(generator, labels, seeds=range(count)).tokens
    schedule = PerStep(values=(1.0, 1.0, 1.0, 0.0))
    late = Sampler(temperature=schedule).sample(generator, labels, seeds=range(count)).tokens
    assert torch.equal(late[:, :3], free[:, :3])
    assert not torch.equal(late[:, 3:], free[:, 3:])
    beginnings, endings = late[:, :3].unique(dim=0), late.unique(dim=0)
    assert len(endings) == len(beginnings) > 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PerStep(values=()), "schedule.values: at least one is needed, got none"),
        (lambda: PerStep(values=(1.0, -0.1)), "schedule.values: must be at least 0, got -0.1"),
        (lambda: PerStep(values=(math.nan,)), "schedule.values: must be at least 0, got nan"),
        (lambda: Ramp(start=-1.0), "schedule.start: must be at least 0, got -1.0"),
        (lambda: SmoothRamp(end=math.inf), "schedule.end: must be at least 0, got inf"),
        (lambda: Fading(temperature=math.nan), "schedule.temperature: must be at least 0, got nan"),
        (lambda: Sampler(temperature=-1.0), "temperature: must be at least 0, got -1.0"),
        (lambda: Sampler(top_k=-1), "top_k: must be at least 0, got -1"),
        (lambda: Sampler(temperature=Ramp(), top_p=0.0), "top_p: must be positive and at most 1, got 0.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_settings_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()
