"""The flow head with a denoiser that is exact for Gaussian tokens: paths, draws and the bound are known.

Letters: B batch, M tokens, K noised copies, C width of a token vector.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from arlab.heads.denoiser import Denoise, Denoised, Denoiser
from arlab.heads.flow import FlowHead
from arlab.heads.head import Hidden, Predict, Predicted, Sampling
from arlab.heads.solvers import Euler, Heun, Midpoint, Solver
from arlab.heads.time_draws import LogitNormalTime, TimeDraw
from arlab.heads.time_grids import EvenTimes
from arlab.orderings.ordering import Prefix, condition_slots
from arlab.orderings.step import Kind, Layout, Read, Step
from arlab.rng import BatchRng, Noise
from arlab.tokens import TokenSpace

CARRIES = frozenset({Kind.COND, Kind.TOKEN})


class Exact(Denoiser):
    """The velocity of tokens N(mean, std²), E[ε - x | x_t], and of N(free_mean, std²) without the condition."""

    def __init__(
        self, *, mean: float = 0.3, std: float = 0.5, free_mean: float | None = None, wrong: float = 0.0
    ) -> None:
        super().__init__()
        self.mean, self.std, self.free_mean, self.wrong = mean, std, free_mean, wrong
        self.seen: list[tuple[Tensor, Tensor]] = []

    def bind(self, width: int, token_width: int, outputs: int, ways: int) -> None:
        pass

    def look(self, predict: Predict, step: Step) -> Denoise:
        def denoise(noisy_BMKC: Tensor, time_BMK: Tensor) -> Denoised:
            self.seen.append((noisy_BMKC, time_BMK))
            free = None if self.free_mean is None else self._velocity(noisy_BMKC, time_BMK, self.free_mean)
            return Denoised(self._velocity(noisy_BMKC, time_BMK, self.mean) + self.wrong, free)

        return denoise

    def _velocity(self, x: Tensor, time_BMK: Tensor, mean: float) -> Tensor:
        t = time_BMK[..., None]
        variance = t**2 + (1 - t) ** 2 * self.std**2
        return -mean + (t - (1 - t) * self.std**2) / variance * (x - (1 - t) * mean)


class Together(Exact):
    together = True


def head(
    denoiser: Denoiser, *, width: int = 2, solver: Solver | None = None, num_steps: int = 100, **options: float
) -> FlowHead:
    made = FlowHead(denoiser=denoiser, solver=solver, times=EvenTimes(num_steps=num_steps), **options)
    made.bind(4, TokenSpace(width), 1, carries=CARRIES)
    return made


def step_of(tokens: int, groups: Tensor | None = None) -> Step:
    fed = condition_slots(Prefix(tokens))
    if groups is not None:
        fed = type(fed)(fed.kind, fed.source, fed.at, groups, fed.order, fed.keep)
    index = torch.arange(tokens)
    return Step(fed, Read.own(index, index))


def nothing(noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
    """What an exact denoiser asks the backbone."""
    read = Read.own(torch.tensor([0]), torch.tensor([0]))
    return Predicted(Hidden((torch.zeros(1, 1, 4),), read, Layout(((1,),))))


# ---- drawing


@pytest.mark.parametrize(
    ("solver", "steps", "near"),
    [(Euler(), 2000, 2e-3), (Midpoint(), 100, 2e-4), (Heun(), 100, 2e-4)],
    ids=["Euler", "Midpoint", "Heun"],
)
def test_a_draw_is_the_end_of_the_path_its_noise_begins(solver: Solver, steps: int, near: float) -> None:
    noise, step = Noise([5, 6, 7], 4), step_of(4)
    drawn = head(Exact(mean=1.2, std=0.4), solver=solver, num_steps=steps).draw(nothing, step, 1.0, Sampling(), noise)
    expected = 1.2 + 0.4 * noise.normal(step.read.token, 2)
    assert drawn.log_prob is None
    torch.testing.assert_close(drawn.tokens, expected, atol=near, rtol=0)
    # The same without the others of its batch, and for a step that draws one of its tokens alone.
    one = Step(step.feed, Read.own(torch.tensor([2]), torch.tensor([2])))
    alone = head(Exact(mean=1.2, std=0.4), solver=solver, num_steps=steps)
    torch.testing.assert_close(
        alone.draw(nothing, one, 1.0, Sampling(), Noise([6], 4)).tokens, drawn.tokens[1:2, 2:3], atol=1e-6, rtol=0
    )


def test_temperature_multiplies_the_first_noise() -> None:
    noise, step = Noise([5], 3), step_of(3)
    cool = head(Exact(mean=1.2, std=0.4), solver=Midpoint()).draw(nothing, step, 1.0, Sampling(0.5), noise).tokens
    torch.testing.assert_close(cool, 1.2 + 0.2 * noise.normal(step.read.token, 2), atol=2e-4, rtol=0)
    still = head(Exact(mean=1.2, std=0.4), solver=Midpoint()).draw(nothing, step, 1.0, Sampling(0.0), noise).tokens
    torch.testing.assert_close(still, torch.full_like(still, 1.2), atol=2e-4, rtol=0)


def test_the_network_sees_float32_and_the_exact_times() -> None:
    exact = Exact()
    head(exact, num_steps=3).draw(nothing, step_of(3), 1.0, Sampling(), Noise([5], 3))
    assert {noisy.dtype for noisy, _ in exact.seen} == {torch.float32}
    assert [float(time[0, 0, 0]) for _, time in exact.seen] == EvenTimes(num_steps=3)()[:-1]


class Says(Exact):
    """1 under the condition, 0 without."""

    def look(self, predict: Predict, step: Step) -> Denoise:
        return lambda noisy, time: Denoised(torch.ones_like(noisy), torch.zeros_like(noisy))


@pytest.mark.parametrize(
    ("options", "guided"),
    [({}, 8), ({"guided_from": 0.25, "guided_until": 0.75}, 5), ({"guided_until": 0.5}, 4), ({"guided_from": 0.9}, 1)],
)
def test_guidance_holds_in_its_interval(options: dict[str, float], guided: int) -> None:
    noise, step = Noise([5], 1), step_of(1)
    drawn = head(Says(), num_steps=8, **options).draw(nothing, step, 3.0, Sampling(), noise).tokens
    # Looks at 1, 7/8, ..., 1/8; unguided the velocity is 1, guided 0 + 3 (1 - 0).
    expected = noise.normal(step.read.token, 2) - (3 * guided + 8 - guided) / 8
    torch.testing.assert_close(drawn, expected, atol=1e-6, rtol=0)


def test_guidance_exaggerates_the_velocity() -> None:
    """Of Gaussians that differ in their means alone: u + s (c - u) is that of a mean as much farther away."""
    noise, step = Noise([5], 3), step_of(3)
    far = head(Exact(mean=0.5, free_mean=0.2), solver=Midpoint()).draw(nothing, step, 3.0, Sampling(), noise).tokens
    torch.testing.assert_close(far, 1.1 + 0.5 * noise.normal(step.read.token, 2), atol=2e-4, rtol=0)


# ---- training


def test_the_loss_is_the_squared_error_of_the_velocity() -> None:
    class Nothing(Exact):
        def look(self, predict: Predict, step: Step) -> Denoise:
            return lambda noisy, time: Denoised(2 * noisy)

    target, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 5, 4)
    time = torch.rand(2, 3, 5)
    noisy = (1 - time[..., None]) * target[:, :, None] + time[..., None] * noise
    expected = (2 * noisy - (noise - target[:, :, None])).square().mean((-1, -2))
    made = head(Nothing(), width=4, repeats=5)
    torch.testing.assert_close(made.loss_at(nothing, step_of(3), target, time, noise), expected)
    loss = made.loss(nothing, step_of(3), target, BatchRng(0, 2))
    assert loss.shape == (2, 3)
    torch.testing.assert_close(loss, made.loss(nothing, step_of(3), target, BatchRng(0, 2)))


def test_times_are_drawn_on_the_cpu_wherever_the_tokens_are() -> None:
    class Watched(TimeDraw):
        def __call__(self, uniform: Tensor) -> Tensor:
            assert uniform.device.type == "cpu"
            return uniform

    made = FlowHead(denoiser=Exact(), time_draw=Watched())
    made.bind(4, TokenSpace(2), 1, carries=CARRIES)
    assert made.loss(nothing, step_of(3), torch.zeros(2, 3, 2, device="meta"), BatchRng(0, 2)).device.type == "meta"


def test_times_are_drawn_for_each_copy_and_shared_where_tokens_are_seen_together() -> None:
    groups = torch.tensor([4, 2, 4, 7, 2])
    for denoiser, number in ((Exact(), 5), (Together(), 3)):
        head(denoiser, repeats=6, width=2).loss(nothing, step_of(5, groups), torch.zeros(2, 5, 2), BatchRng(0, 2))
        noisy, time = denoiser.seen[0]
        assert noisy.shape == (2, 5, 6, 2)
        assert time.shape == (2, 5, 6)
        assert all(len(time[b, :, k].unique()) == number for b in range(2) for k in range(6))
        assert len(time.unique()) == number * 12
        if denoiser.together:
            assert torch.equal(time[:, [0, 1]], time[:, [2, 4]])


def test_an_exact_denoiser_has_the_least_loss() -> None:
    """E|v - v̂|² of N(μ, s²) is ∫ s² / (t² + (1 - t)² s²) dt = s π / 2, by substitution."""
    target = 0.3 + 0.5 * torch.randn(1, 20000, 1)
    loss = head(Exact(), width=1, repeats=8).loss(nothing, step_of(20000), target, BatchRng(0, 1)).mean()
    assert float(loss) == pytest.approx(0.5 * math.pi / 2, rel=0.01)
    off = head(Exact(wrong=0.5), width=1, repeats=8).loss(nothing, step_of(20000), target, BatchRng(0, 1)).mean()
    assert float(off - loss) == pytest.approx(0.25, rel=0.1)


# ---- the bound


def gap(denoiser: Exact, width: int, step: Step, mean: float, std: float) -> tuple[float, float]:
    """Mean of log-likelihood minus bound in nats a token, and its standard error."""
    tokens = len(step.read)
    target = mean + std * torch.randn(2, tokens, width)
    log_prob = torch.distributions.Normal(mean, std).log_prob(target).sum(-1)
    bound = head(denoiser, width=width).bound(nothing, step, target, BatchRng(0, 2))
    assert bound is not None
    assert bound.shape == log_prob.shape
    above = log_prob - bound
    return float(above.mean()), float(above.std() / math.sqrt(2 * tokens))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.3, 0.5), (-2.0, 2.0), (0.1, 0.05)])
@pytest.mark.parametrize("width", [1, 3])
def test_the_bound_of_an_exact_denoiser_is_the_likelihood(mean: float, std: float, width: int) -> None:
    off, error = gap(Exact(mean=mean, std=std), width, step_of(20000), mean, std)
    assert error < 0.02 * width
    assert abs(off) < 4 * error + 1e-3


@pytest.mark.parametrize("groups", [1, 5000])
def test_the_bound_holds_where_tokens_share_their_times(groups: int) -> None:
    torch.manual_seed(0)
    step = step_of(20000, torch.arange(20000) % groups)
    off, error = gap(Together(mean=0.3, std=0.5), 1, step, 0.3, 0.5)
    # Tokens of one group are no independent draws any more.
    assert abs(off) < 4 * error * math.sqrt(20000 / groups if groups > 1 else 400) + 1e-3


def test_the_bound_is_lower_for_a_worse_denoiser() -> None:
    """By wrong² (∫ (1 - t) / t dt + (1 - t0)² / 2), which the errors of an exact one add nothing to."""
    (off, error), first = gap(Exact(wrong=0.2), 1, step_of(20000), 0.3, 0.5), 1e-3
    expected = 0.04 * (math.log(1 / first) - (1 - first) + (1 - first) ** 2 / 2)
    assert off == pytest.approx(expected, abs=4 * error + 1e-3)
    assert off > 10 * error


@pytest.mark.parametrize("looks", [1, 8, 20])
def test_what_the_bound_looks_at(looks: int) -> None:
    exact = Exact()
    head(exact, bound_looks=looks).bound(nothing, step_of(3), torch.randn(2, 3, 2), BatchRng(0, 2))
    assert [noisy.shape for noisy, _ in exact.seen] == [(2, 3, 1, 2)] * (1 + looks)
    times = torch.cat([time for _, time in exact.seen], -1)
    assert bool((times[..., 0] == 1e-3).all())
    assert bool((times[..., 1:].diff() < 0).all())
    assert float(times.max()) <= 1
    assert float(times.min()) >= 1e-3 - 1e-9


def test_without_looks_there_is_no_bound() -> None:
    exact = Exact()
    assert head(exact, bound_looks=0).bound(nothing, step_of(3), torch.randn(2, 3, 2), BatchRng(0, 2)) is None
    assert exact.seen == []
    assert FlowHead().bound_looks == 8


# ---- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guided_from": 0.5, "guided_until": 0.4}, "head.guided_until: must be from 0.5 to 1, got 0.4"),
        ({"guided_from": -0.1}, "head.guided_from: must be from 0 to 1, got -0.1"),
        ({"guided_until": float("nan")}, "head.guided_until: must be from 0.0 to 1, got nan"),
        ({"repeats": 0}, "head.repeats: must be from 1 to 1024, got 0"),
        ({"bound_looks": -1}, "head.bound_looks: must be from 0 to 1024, got -1"),
        ({"init_std": float("inf")}, "head.init_std: must be at least 0, got inf"),
    ],
)
def test_refusals(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowHead(**options)  # type: ignore[arg-type]


def test_it_is_written_down_with_its_parts() -> None:
    spec = FlowHead(solver=Heun(), time_draw=LogitNormalTime()).spec()["init_args"]
    assert isinstance(spec, dict)
    assert spec["solver"]["class_path"].endswith("Heun")
    assert spec["times"]["init_args"] == {"num_steps": 25}
