from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arlab.heads.euler_maruyama import EulerMaruyama
from arlab.heads.even_then_last import EvenThenLast
from arlab.heads.solvers import Euler

SIZE = 100_000


def velocity_of(std: float) -> object:
    """The exact velocity where data is normal with this deviation: E[ε - x | x_t]."""

    def velocity(x: Tensor, time: float) -> Tensor:
        return x * (time - (1 - time) * std**2) / ((1 - time) ** 2 * std**2 + time**2)

    return velocity


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0])
def test_noise_becomes_data(std: float) -> None:
    generator = torch.Generator().manual_seed(0)

    def fresh(number: int) -> Tensor:
        return torch.randn(SIZE, generator=generator, dtype=torch.float64)

    begin = fresh(-1)
    data = EulerMaruyama()(velocity_of(std), begin, EvenThenLast(num_steps=200)(), fresh)  # type: ignore[arg-type]
    assert float(data.std()) == pytest.approx(std, rel=0.03)
    # Less is left of where it began than on the path of an ODE.
    assert abs(float(torch.corrcoef(torch.stack((begin, data)))[0, 1])) < 0.7
    straight = Euler()(velocity_of(std), begin, EvenThenLast(num_steps=200)(), fresh)  # type: ignore[arg-type]
    assert float(torch.corrcoef(torch.stack((begin, straight)))[0, 1]) > 0.99


def test_each_step_but_the_last_adds_its_noise() -> None:
    asked: list[int] = []

    def fresh(number: int) -> Tensor:
        asked.append(number)
        return torch.ones(1)

    # Without drift but x's own: v = 0.
    x = EulerMaruyama()(lambda x, time: torch.zeros(1), torch.zeros(1), [1.0, 0.5, 0.25, 0.0], fresh)
    assert asked == [0, 1]
    first = (2 * 1.0 * 0.5) ** 0.5
    second = first * (1 - 0.25) + (2 * 0.5 * 0.25) ** 0.5
    assert float(x) == pytest.approx(second * (1 - 0.25))


@pytest.mark.parametrize("num_steps", [1, 2, 6, 40, 50])
def test_its_times_are_those_published(num_steps: int) -> None:
    expected = [*torch.linspace(1.0, 0.04, num_steps, dtype=torch.float64).tolist(), 0.0]
    assert EvenThenLast(num_steps=num_steps)() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("options", [{"num_steps": 0}, {"last": 0.0}, {"last": 1.0}, {"last": float("nan")}])
def test_what_cannot_be_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"times\."):
        EvenThenLast(**options)  # type: ignore[arg-type]
