"""The diffusion head against formulas, and against denoisers that are exact.

Letters: B batch, M tokens, K noised copies of a token, C token vector width, D width.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from arlab.heads.denoiser import Denoise, Denoised, Denoiser
from arlab.heads.diffusion import DiffusionHead, nats
from arlab.heads.diffusion_samplers import DDIM, Ancestral, DiffusionSampler, DPMSolver2M, Guess
from arlab.heads.diffusion_targets import DiffusionTarget, PredictsData, PredictsNoise, PredictsVelocity
from arlab.heads.diffusion_variances import LargeVariance, LearnedRange, SmallVariance, StepVariance
from arlab.heads.head import Hidden, Predict, Predicted, Sampling
from arlab.heads.noise_levels import NoiseLevel, NoiseLevels, evenly
from arlab.heads.noise_schedules import CosineSchedule, LinearSchedule, NoiseSchedule
from arlab.heads.token_mlp import TokenMLP
from arlab.orderings.ordering import Prefix
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Read, Step
from arlab.rng import BatchRng, Noise
from arlab.tokens import TokenSpace

WIDTH = 8
MEAN, DEVIATION = 0.7, 0.5
SCHEDULES = (CosineSchedule(), LinearSchedule(), CosineSchedule(num_train_steps=50), LinearSchedule(num_train_steps=7))
TARGETS = (PredictsNoise(), PredictsVelocity(), PredictsData())


def class_name(value: object) -> str:
    return type(value).__name__


@functools.cache
def a_pass(num_tokens: int) -> Step:
    return Raster().training(Layout(((num_tokens,),)), Prefix(1), BatchRng(0, 1))


def told(h_BMD: Tensor, free_BMD: Tensor | None = None) -> Predict:
    number = torch.arange(h_BMD.shape[1])
    layout, read = Layout(((len(number),),)), Read.own(number, number)

    def predict(noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
        return Predicted(
            Hidden((h_BMD,), read, layout), None if free_BMD is None else Hidden((free_BMD,), read, layout)
        )

    return predict


def bound_to(head: DiffusionHead, token_width: int) -> DiffusionHead:
    head.bind(WIDTH, TokenSpace(token_width), 1, carries=frozenset({Kind.COND}))
    return head


def random_head(**options: object) -> DiffusionHead:
    torch.manual_seed(1)
    head = bound_to(DiffusionHead(denoiser=TokenMLP(width=16, num_blocks=1), **options), 2)  # type: ignore[arg-type]
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return head.eval()


class Exact(Denoiser):
    """The best there is for data drawn from equal normal distributions: E[ε | x_t], and the variance that is true.

    Args:
        head: whose levels and target are meant.
        means: of the distributions, (n, C).
        deviation: of each.
    """

    def __init__(self, head: DiffusionHead, means: Tensor, deviation: float) -> None:
        super().__init__()
        self.levels, self.schedule, self.means, self.deviation = head.levels, head.schedule, means, deviation
        self.target, self.learned = head.target, head.variance.learned

    def bind(self, width: int, token_width: int, outputs: int, ways: int) -> None:
        assert outputs == token_width * (1 + self.learned)

    def look(self, predict: Predict, step: Step) -> Denoise:
        return self.denoise

    def denoise(self, noisy: Tensor, time: Tensor) -> Denoised:
        index = (time * self.schedule.num_train_steps).round().long()
        level = self.levels.at(index, noisy.double())
        spread = (level.signal * self.deviation).square() + level.sigma.square()
        off = noisy[..., None, :] - level.signal[..., None] * self.means
        share = (-0.5 * off.square().sum(-1) / spread).softmax(-1)
        noise = (share[..., None] * off).sum(-2) * level.sigma / spread
        data = PredictsNoise().data(noise, noisy, level)
        said = self.target.of(data, noise, level)
        if self.learned:
            log = true_log_variance(level, self.deviation)
            value = 2 * (log - level.log_small) / (level.log_large - level.log_small) - 1
            said = torch.cat((said, value.expand_as(said)), -1)
        return Denoised(said.float())


def true_log_variance(level: NoiseLevel, deviation: float) -> Tensor:
    """Var(x_{t-1} | x_t) = small + from_data² Var(x_0 | x_t) for normal data; there is no level before the first."""
    spread = (level.signal * deviation).square() + level.sigma.square()
    small = torch.where(level.first > 0, 0.0, level.log_small.exp())
    return (small + (level.from_data * deviation * level.sigma).square() / spread).log()


def exact(means: Tensor, deviation: float, **options: object) -> DiffusionHead:
    head = DiffusionHead(**options)  # type: ignore[arg-type]
    head.denoiser = Exact(head, means, deviation)
    return bound_to(head, means.shape[1])


def drawn(head: DiffusionHead, number: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
    """Tokens (number, C) that know nothing of each other."""
    step = a_pass(number)
    with torch.no_grad():
        tokens = head.draw(told(torch.zeros(1, number, WIDTH)), step, 1.0, Sampling(temperature), Noise([seed], number))
    return tokens.tokens[0]


# ---- levels


@pytest.mark.parametrize("schedule", SCHEDULES, ids=class_name)
def test_betas_are_the_formulas(schedule: NoiseSchedule) -> None:
    betas, number = schedule.betas(), schedule.num_train_steps
    assert betas.shape == (number,)
    assert bool(((betas > 0) & (betas < 1)).all())
    if isinstance(schedule, LinearSchedule):
        assert betas.tolist() == pytest.approx([1e-4 + 0.0199 * t / (number - 1) for t in range(number)])
        return

    def kept(t: int) -> float:
        return math.cos((t / number + 0.008) / 1.008 * math.pi / 2) ** 2

    assert betas.tolist() == pytest.approx([min(1 - kept(t + 1) / kept(t), 0.999) for t in range(number)])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=class_name)
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_levels_follow_from_single_steps(schedule: NoiseSchedule, share: float) -> None:
    """q(x_t | x_0) composed of q(x_t | x_{t-1}); its posterior by Bayes: precisions add."""
    betas = schedule.betas()
    levels = NoiseLevels(betas, evenly(len(betas), math.ceil(share * len(betas))))
    signal, variance = 1.0, 0.0
    table = levels.all(betas)
    for last, number in enumerate(levels.index.tolist()):
        begin = levels.index[last - 1] + 1 if last else 0
        through = 1.0
        for beta in betas[begin : number + 1].tolist():
            through *= 1 - beta
        before, level = (signal, variance), table[last]
        signal, variance = math.sqrt(through) * signal, through * variance + 1 - through
        assert float(level.signal) == pytest.approx(signal)
        assert float(level.sigma) ** 2 == pytest.approx(variance)
        assert float(level.signal_before) == pytest.approx(before[0])
        assert float(level.sigma_before) == pytest.approx(math.sqrt(before[1]), abs=1e-9)
        assert bool(level.first) == (last == 0)
        assert math.exp(float(level.log_large)) == pytest.approx(1 - through)
        if not last:
            assert [float(level.from_data), float(level.from_noisy)] == [1, 0]
            continue
        small = 1 / (through / (1 - through) + 1 / before[1])
        assert math.exp(float(level.log_small)) == pytest.approx(small)
        assert float(level.from_data) == pytest.approx(small * before[0] / before[1])
        assert float(level.from_noisy) == pytest.approx(small * math.sqrt(through) / (1 - through))


def test_all_levels_kept_are_the_levels() -> None:
    betas = CosineSchedule().betas()
    for one, other in zip(
        NoiseLevels(betas).all(betas), NoiseLevels(betas, evenly(1000, 1000)).all(betas), strict=True
    ):
        assert vars(one) == vars(other)


def test_kept_levels_are_spread_evenly() -> None:
    assert evenly(1000, 10).tolist() == [0, 111, 222, 333, 444, 555, 666, 777, 888, 999]
    assert evenly(1000, 2).tolist() == [0, 999]
    assert evenly(1000, 1).tolist() == [999]
    assert evenly(7, 7).tolist() == list(range(7))
    assert all(len(set(evenly(50, number).tolist())) == number for number in range(1, 51))


def test_denoisers_are_told_the_number_of_a_level() -> None:
    levels = NoiseLevels(CosineSchedule().betas())
    number = torch.arange(1000)
    time = levels.at(number, torch.zeros(())).time[..., 0]
    assert time.dtype == torch.float32
    assert bool(((1000 * time).floor() == number).all())
    assert float((1000 * time - number).abs().max()) < 1e-4


def test_noised_tokens_have_the_moments_of_their_level() -> None:
    head = random_head(repeats=1)
    target = torch.full((100, 40, 2), 1.5)
    noise = head.noise_for(target, BatchRng(0, 100))
    for number in (0, 300, 700, 999):
        _, noisy, level = head._noised(target, torch.full((100, 40, 1), number), noise)
        assert float(noisy.mean()) == pytest.approx(1.5 * float(level.signal[0, 0, 0]), abs=0.05)
        assert float(noisy.std()) == pytest.approx(float(level.sigma[0, 0, 0]), rel=0.04)


# ---- what the denoiser says


@pytest.mark.parametrize("target", TARGETS, ids=class_name)
def test_a_target_stands_for_the_data(target: DiffusionTarget) -> None:
    number = torch.arange(1000)
    data, noise = torch.randn(2, 1000, 3, dtype=torch.float64)
    level = NoiseLevels(CosineSchedule().betas()).at(number, data)
    noisy = level.signal * data + level.sigma * noise
    torch.testing.assert_close(target.data(target.of(data, noise, level), noisy, level), data, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "sampler", [Ancestral(), DDIM(), DDIM(eta=1.0), DPMSolver2M()], ids=["ancestral", "ddim", "ddim-1", "2m"]
)
def test_targets_say_the_same(sampler: DiffusionSampler) -> None:
    means = torch.tensor([[1.0, -1.0], [-1.0, 0.5]])
    options = {"sampler": sampler, "schedule": LinearSchedule(), "variance": SmallVariance(), "num_steps": 20}
    draws = [drawn(exact(means, 0.3, target=target, **options), 50) for target in TARGETS]
    for other in draws[1:]:
        torch.testing.assert_close(other, draws[0], rtol=0, atol=2e-3)


def test_a_learned_variance_lies_between_the_fixed_ones() -> None:
    level = NoiseLevels(CosineSchedule().betas()).at(torch.arange(1000), torch.zeros(()))
    said = torch.ones(1000, 1)
    small, large = SmallVariance().log(said, level), LargeVariance().log(said, level)
    torch.testing.assert_close(LearnedRange().log(-said, level), small)
    torch.testing.assert_close(LearnedRange().log(said, level)[1:], large[1:])
    torch.testing.assert_close(LearnedRange().log(0 * said, level)[1:], ((small + large) / 2)[1:])
    assert float(large[0]) == float(small[0]) == float(small[1])


def test_the_bound_of_a_level_is_a_divergence_of_normals() -> None:
    levels = NoiseLevels(CosineSchedule().betas())
    level = levels.at(torch.arange(1000), torch.zeros(1, dtype=torch.float64))
    data, noisy, thought = torch.randn(3, 1000, 1, dtype=torch.float64)
    log = LearnedRange().log(torch.rand(1000, 1, dtype=torch.float64), level)

    def normal(of: Tensor, log_variance: Tensor) -> torch.distributions.Normal:
        return torch.distributions.Normal(level.from_data * of + level.from_noisy * noisy, (0.5 * log_variance).exp())

    got = nats(data, Guess(thought, log), level)
    kl = torch.distributions.kl_divergence(normal(data, level.log_small), normal(thought, log))
    torch.testing.assert_close(got[1:], kl[1:])
    torch.testing.assert_close(got[:1], -normal(thought, log).log_prob(data)[:1])


def test_the_mean_is_not_learned_by_the_bound() -> None:
    step, target, noise = a_pass(4), torch.randn(3, 4, 2), torch.randn(3, 4, 2, 2)
    level = torch.randint(1000, (3, 4, 2))
    gradients = []
    for weight in (1e-3, 100.0):
        head = random_head(variance=LearnedRange(weight=weight))
        head.loss_at(told(torch.randn(3, 4, WIDTH)), step, target, level, noise).mean().backward()
        gradient = head.network.get_parameter("networks.0.output.bias").grad
        assert gradient is not None
        gradients.append(gradient)
        torch.manual_seed(1)
    (mean, variance), (same, larger) = (each.chunk(2) for each in gradients)
    assert float((mean - same).abs().max()) >= 0
    assert float(larger.abs().max()) > 1e3 * float(variance.abs().max())


# ---- draws of exact denoisers


VARIANCES = (SmallVariance(), LargeVariance(), LearnedRange())


@pytest.mark.parametrize("variance", VARIANCES, ids=class_name)
@pytest.mark.parametrize("schedule", [CosineSchedule(), LinearSchedule()], ids=class_name)
def test_draws_have_the_moments_of_the_data(variance: StepVariance, schedule: NoiseSchedule) -> None:
    number = 4000
    head = exact(torch.tensor([[MEAN]]), DEVIATION, variance=variance, schedule=schedule, num_steps=200)
    x = drawn(head, number)
    # The true variance of steps is drawn exactly; the fixed ones are off by what 200 steps are too few.
    coarse = 0.0 if variance.learned else 0.03
    assert float(x.mean()) == pytest.approx(MEAN, abs=4 * DEVIATION / math.sqrt(number))
    assert float(x.std()) == pytest.approx(DEVIATION, abs=DEVIATION * (4 / math.sqrt(2 * number) + coarse))


@pytest.mark.parametrize("sampler", [DDIM(), DDIM(eta=1.0)], ids=["0", "1"])
def test_ddim_draws_have_the_moments_of_the_data(sampler: DiffusionSampler) -> None:
    number = 4000
    head = exact(torch.tensor([[MEAN]]), DEVIATION, variance=SmallVariance(), sampler=sampler, num_steps=200)
    x = drawn(head, number)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.04)
    assert float(x.std()) == pytest.approx(DEVIATION, rel=0.08)


def test_draws_are_those_of_a_mixture() -> None:
    """By the energy distance, beside those between sets of true draws."""
    number, means = 800, torch.tensor([[1.5, 0.0], [-1.0, 1.0], [0.0, -1.5]])
    random = torch.Generator().manual_seed(3)

    def true() -> Tensor:
        which = torch.randint(len(means), (number,), generator=random)
        return means[which] + 0.3 * torch.randn(number, 2, generator=random)

    def distance(one: Tensor, other: Tensor) -> float:
        within = torch.cdist(one, one).mean() + torch.cdist(other, other).mean()
        return float(2 * torch.cdist(one, other).mean() - within)

    usual = torch.tensor([distance(true(), true()) for _ in range(40)])
    limit = float(usual.mean() + 4 * usual.std())
    head = exact(means, 0.3, variance=SmallVariance(), num_steps=250)
    assert distance(drawn(head, number), true()) < limit
    assert distance(true() * 1.15, true()) > limit


def test_without_temperature_no_step_adds_noise() -> None:
    class OtherSteps(Noise):
        def normal(self, token: Tensor, width: int, draw: int = 0) -> Tensor:
            return super().normal(token, width, draw) + (draw > 0)

    head, step, predict = random_head(num_steps=5), a_pass(6), told(torch.randn(2, 6, WIDTH))
    with torch.no_grad():
        for temperature in (0.0, 1.0):
            one, other = (
                head.draw(predict, step, 1.0, Sampling(temperature), noise([3, 4], 6)).tokens
                for noise in (Noise, OtherSteps)
            )
            assert torch.equal(one, other) == (temperature == 0)
        ddim = random_head(num_steps=5, sampler=DDIM(eta=0.5))
        draws = [ddim.draw(predict, step, 1.0, Sampling(0.0), Noise([seed] * 2, 6)).tokens for seed in (0, 1)]
    assert torch.equal(*draws)


def test_a_token_is_drawn_the_same_in_any_step() -> None:
    head, h_BMD = random_head(num_steps=5), torch.randn(2, 6, WIDTH)
    few = Step(a_pass(6).feed, Read.own(torch.tensor([1, 4]), torch.arange(2)))
    with torch.no_grad():
        whole = head.draw(told(h_BMD), a_pass(6), 1.0, Sampling(), Noise([3, 4], 6)).tokens
        part = head.draw(told(h_BMD[1:, [1, 4]]), few, 1.0, Sampling(), Noise([4], 6)).tokens
    torch.testing.assert_close(part, whole[1:, [1, 4]])


def test_guidance_exaggerates_the_prediction_alone() -> None:
    head, step = random_head(num_steps=5), a_pass(6)
    h, free = torch.randn(2, 2, 6, WIDTH)
    level = head.sampled.all(h)[3]
    noisy = torch.randn(2, 6, 1, 2)
    with torch.no_grad():
        plain = head.draw(told(h), step, 1.0, Sampling(), Noise([3, 4], 6)).tokens
        one = head.draw(told(h, free), step, 1.0, Sampling(), Noise([3, 4], 6)).tokens
        strong = head.draw(told(h, free), step, 3.0, Sampling(), Noise([3, 4], 6)).tokens
        denoised = head.network.look(told(h, free), step)(noisy, level.time.expand(2, 6, 1))
        guesses = [head._guess(denoised, noisy, level, scale) for scale in (0.0, 1.0, 3.0)]
    assert torch.equal(plain, one)
    assert not torch.allclose(plain, strong)
    without, with_it, more = (guess.data for guess in guesses)
    torch.testing.assert_close(more, without + 3 * (with_it - without))
    assert all(torch.equal(guess.log_variance, guesses[1].log_variance) for guess in guesses)


def test_clipped_data_bounds_draws() -> None:
    step, predict = a_pass(6), told(torch.randn(2, 6, WIDTH))
    with torch.no_grad():
        heads = [random_head(num_steps=5, clip=clip, target=PredictsNoise()) for clip in (None, 2.0)]
        free, held = (head.draw(predict, step, 1.0, Sampling(), Noise([3, 4], 6)).tokens for head in heads)
    assert float(free.abs().max()) > 2
    assert float(held.abs().max()) <= 2


# ---- the bound


@pytest.mark.parametrize("target", TARGETS, ids=class_name)
@pytest.mark.parametrize("variance", VARIANCES, ids=class_name)
def test_the_bound_is_below_the_likelihood_and_near_it(variance: StepVariance, target: DiffusionTarget) -> None:
    """Below by what its variances are off, for the mean is exact: Σ (r - 1 - log r) / 2, r true over assumed."""
    number = 400
    head = exact(torch.tensor([[MEAN, -MEAN]]), DEVIATION, variance=variance, target=target)
    data = torch.tensor([MEAN, -MEAN]) + DEVIATION * torch.randn(1, number, 2)
    bound = head.bound(told(torch.zeros(1, number, WIDTH)), a_pass(number), data, BatchRng(0, 1))
    assert bound is not None
    assert bound.shape == (1, number)
    true = torch.distributions.Normal(torch.tensor([MEAN, -MEAN]), DEVIATION).log_prob(data).sum(-1)
    gap = true - bound
    level = head.levels.at(torch.arange(1000), torch.zeros(1, dtype=torch.float64))
    ratio = (true_log_variance(level, DEVIATION) - variance.log(torch.zeros(1000, 1), level)).exp()
    excess = 0.0 if variance.learned else float((ratio - 1 - ratio.log()).sum())
    assert 0 <= excess < 1.2
    assert float(gap.mean()) == pytest.approx(excess, abs=4 * float(gap.std()) / math.sqrt(number))
    assert float(gap.std()) < 3


def test_the_bound_is_the_sum_over_all_levels() -> None:
    """In the mean, whichever levels are drawn and whatever is taken off."""
    schedule, number = CosineSchedule(num_train_steps=10), 3000
    head = exact(torch.tensor([[MEAN]]), DEVIATION, schedule=schedule, num_steps=10, variance=LargeVariance())
    data, predict = torch.full((1, number, 1), 1.3), told(torch.zeros(1, number, WIDTH))
    bound = head.bound(predict, a_pass(number), data, BatchRng(0, 1))
    assert bound is not None
    level = torch.arange(10).expand(1, number, 10)
    spread, noisy, its = head._noised(data, level, torch.randn(1, number, 10, 1))
    guess = head._guess(head.network.look(predict, a_pass(number))(noisy, its.time[..., 0]), noisy, its)
    signal = float(head.levels.signal[-1])
    ends = torch.distributions.Normal(1.3 * signal, math.sqrt(1 - signal**2)), torch.distributions.Normal(0.0, 1.0)
    whole = -nats(spread, guess, its).sum((-1, -2)) - torch.distributions.kl_divergence(*ends)
    error = math.sqrt(float(whole.var() + bound.var()) / number)
    assert float(bound.mean()) == pytest.approx(float(whole.mean()), abs=4 * error)
    assert float(bound.std()) < float(whole.std()) + 1


@pytest.mark.parametrize("looks", [0, 1, 5, 16])
def test_how_often_the_bound_looks(looks: int) -> None:
    head, seen = random_head(bound_looks=looks), []
    denoised = head.network.networks[0].forward  # type: ignore[index, union-attr]
    head.network.networks[0].forward = lambda *given: seen.append(1) or denoised(*given)  # type: ignore
    bound = head.bound(told(torch.randn(2, 6, WIDTH)), a_pass(6), torch.randn(2, 6, 2), BatchRng(0, 2))
    assert (bound is None) == (looks == 0)
    assert len(seen) == (1 + looks if looks else 0)
    assert DiffusionHead().bound_looks == 16


def test_the_bound_is_that_of_a_group_where_tokens_are_seen_together() -> None:
    head = exact(torch.tensor([[MEAN]]), DEVIATION)
    head.network.together = True
    data = MEAN + DEVIATION * torch.randn(400, 6, 1)
    bound = head.bound(
        told(torch.zeros(400, 6, WIDTH)),
        Step(a_pass(6).feed, Read.own(*2 * [torch.zeros(6).long()])),
        data,
        BatchRng(0, 400),
    )
    assert bound is not None
    gap = torch.distributions.Normal(MEAN, DEVIATION).log_prob(data[..., 0]).sum(-1) - bound.sum(-1)
    assert float(gap.mean()) == pytest.approx(0, abs=4 * float(gap.std()) / math.sqrt(400))


def test_a_head_learns_a_distribution() -> None:
    torch.manual_seed(0)
    head = bound_to(DiffusionHead(denoiser=TokenMLP(width=32, num_blocks=2)), 1)
    optimizer, predict, step = torch.optim.Adam(head.parameters(), 3e-3), told(torch.zeros(1, 128, WIDTH)), a_pass(128)
    for number in range(300):
        optimizer.zero_grad()
        data = MEAN + DEVIATION * torch.randn(1, 128, 1)
        head.loss(predict, step, data, BatchRng(number, 1)).mean().backward()
        optimizer.step()
    x = drawn(head.eval(), 2000)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.12)
    assert float(x.std()) == pytest.approx(DEVIATION, abs=0.12)
    data = MEAN + DEVIATION * torch.randn(1, 128, 1)
    true = torch.distributions.Normal(MEAN, DEVIATION).log_prob(data).mean()
    with torch.no_grad():
        bound = head.bound(predict, step, data, BatchRng(0, 1))
    assert bound is not None
    assert 0 < float(true - bound.mean()) < 0.4


# ---- refusals

REFUSED: tuple[tuple[Callable[[], object], str], ...] = (
    (lambda: DiffusionHead(num_steps=0), "head.num_steps: must be from 1 to 1000, got 0"),
    (
        lambda: DiffusionHead(num_steps=11, schedule=CosineSchedule(num_train_steps=10)),
        "head.num_steps: must be from 1 to 10, got 11",
    ),
    (lambda: DiffusionHead(clip=0.0), "head.clip: must be positive, got 0.0"),
    (lambda: DiffusionHead(clip=math.inf), "head.clip: must be positive, got inf"),
    (lambda: DiffusionHead(repeats=0), "head.repeats: must be from 1 to 1024, got 0"),
    (lambda: CosineSchedule(num_train_steps=1), "schedule.num_train_steps: must be from 2 to 10000, got 1"),
    (lambda: CosineSchedule(largest=1.0), "schedule.largest: must be from 0.1 to 0.9999, got 1.0"),
    (
        lambda: LinearSchedule(num_train_steps=10**9),
        "schedule.num_train_steps: must be from 2 to 10000, got 1000000000",
    ),
    (
        lambda: LinearSchedule(last=0.3),
        "schedule.last: 1000 steps from 0.0001 must leave 1e-05 of the data, more than this does; choose a smaller "
        "one, or num_train_steps of at most 137, got 0.3",
    ),
    (lambda: DiffusionHead(bound_looks=-1), "head.bound_looks: must be from 0 to 1024, got -1"),
    (lambda: DiffusionHead(bound_looks=10**9), "head.bound_looks: must be from 0 to 1024, got 1000000000"),
    (lambda: LinearSchedule(first=0.0), "schedule.first: must be from 1e-06 to 0.9, got 0.0"),
    (lambda: LinearSchedule(first=0.5, last=0.1), "schedule.last: must be from 0.5 to 0.9999, got 0.1"),
    (lambda: LearnedRange(weight=math.nan), "variance.weight: must be positive and at most 1000000.0, got nan"),
    (lambda: DDIM(eta=1.5), "sampler.eta: must be from 0 to 1, got 1.5"),
)


@pytest.mark.parametrize(("make", "told_so"), REFUSED, ids=[line for _, line in REFUSED])
def test_out_of_range(make: Callable[[], object], told_so: str) -> None:
    with pytest.raises(ValueError, match=r":") as refused:
        make()
    assert str(refused.value) == told_so


def test_codes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^head: DiffusionHead needs continuous tokens .* choose DiscreteHead$"):
        DiffusionHead().bind(WIDTH, TokenSpace(2, 16), 1, carries=frozenset({Kind.COND}))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=class_name)
def test_any_number_of_steps_is_finite(schedule: NoiseSchedule) -> None:
    for number in {1, 2, 3, min(schedule.num_train_steps, 60)}:
        for sampler in (Ancestral(), DDIM(eta=1.0), DPMSolver2M()):
            head = exact(
                torch.tensor([[MEAN]]),
                DEVIATION,
                schedule=schedule,
                sampler=sampler,
                num_steps=number,
                variance=LargeVariance(),
            )
            assert bool(drawn(head, 10).isfinite().all())


@pytest.mark.parametrize("last", [0.1, 0.3, 0.9999])
def test_a_schedule_that_keeps_too_little_names_one_that_float32_inverts(last: float) -> None:
    with pytest.raises(ValueError, match=r"num_train_steps of at most (\d+)") as refused:
        LinearSchedule(last=last)
    most = int(str(refused.value).split("at most ")[1].split(",")[0])
    with pytest.raises(ValueError, match=r"schedule\.last"):
        LinearSchedule(last=last, num_train_steps=most + 1)
    head = random_head(schedule=LinearSchedule(last=last, num_train_steps=most), num_steps=2)
    data, noise = torch.randn(500, 1, 2), torch.randn(500, 1, 1, 2)
    _, noisy, level = head._noised(data, torch.full((500, 1, 1), most - 1), noise)
    assert float((PredictsNoise().data(noise, noisy, level)[:, :, 0] - data).abs().max()) < 0.1


def test_a_schedule_is_there_without_memory() -> None:
    with torch.device("meta"):
        assert LinearSchedule().num_train_steps == 1000


def test_levels_are_there_in_a_head_without_memory() -> None:
    with torch.device("meta"):
        head = DiffusionHead(num_steps=10)
    assert head.sampled.index.tolist() == evenly(1000, 10).tolist()
    assert float(head.levels.all(torch.zeros(()))[0].from_data) == 1


def test_tokens_are_noised_once_where_that_takes_a_pass() -> None:
    for carries, given, repeats in (({Kind.COND}, None, 4), ({Kind.NOISY}, None, 1), ({Kind.NOISY}, 3, 3)):
        head = DiffusionHead(repeats=given)
        head.bind(WIDTH, TokenSpace(2), 1, carries=frozenset(carries))
        assert head.repeats == repeats


def test_the_defaults_are_written_down() -> None:
    options = DiffusionHead().spec()["init_args"]
    assert isinstance(options, dict)
    assert {
        key: options[key]["class_path"].rpartition(".")[2] for key in ("schedule", "target", "variance", "sampler")
    } == {
        "schedule": "CosineSchedule",
        "target": "PredictsVelocity",
        "variance": "LearnedRange",
        "sampler": "Ancestral",
    }
