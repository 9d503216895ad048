from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from arlab.generators.generator import Generator
from arlab.generators.sampler import Partial, Sampler
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.choices import Choice, ConfidenceChoice
from arlab.orderings.mask_ratios import ArccosRatio, CosineRatio, MaskRatio, TruncatedNormalRatio, UniformRatio
from arlab.orderings.masked import Masked
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.set_sizes import ArccosSizes, CosineSizes, LinearSizes, SetSizes
from arlab.orderings.step import Kind, Layout, Progress
from arlab.rng import BatchRng, Rng, SampleRng
from tests.tiny import tiny_generator

GRID = Layout(((4, 4),))
RATIOS = (TruncatedNormalRatio(), ArccosRatio(), CosineRatio(), UniformRatio())
SIZES = (CosineSizes, ArccosSizes, LinearSizes)

# ---- mask ratios


@pytest.mark.parametrize(
    "ratio", [*RATIOS, TruncatedNormalRatio(mean=0.5, std=1e3, least=0.5)], ids=lambda r: type(r).__name__
)
def test_ratios_are_shares(ratio: MaskRatio) -> None:
    drawn = [ratio.at(uniform) for uniform in (0.0, 1e-9, 0.3, 0.999999)]
    assert all(0 <= each <= 1 for each in drawn)
    assert all(1 <= ratio.count(n, u) <= n for n in (1, 7, 256) for u in (0.0, 0.5, 1 - 2**-24))


def test_ratios_are_their_formulas() -> None:
    uniform = (torch.arange(2000) + 0.5) / 2000
    normal = torch.distributions.Normal(1.0, 0.25)
    truncated = torch.tensor([TruncatedNormalRatio().at(float(u)) for u in uniform])
    assert 0.7 <= float(truncated.min()) < 0.701
    assert 0.999 < float(truncated.max()) <= 1
    # The share of draws below x is that of the cut normal distribution.
    low, high = normal.cdf(torch.tensor(0.7)), normal.cdf(torch.tensor(1.0))
    for x in (0.75, 0.85, 0.95):
        expected = (normal.cdf(torch.tensor(x)) - low) / (high - low)
        assert float((truncated < x).float().mean()) == pytest.approx(float(expected), abs=1e-3)
    assert CosineRatio().at(0.5) == pytest.approx(math.sqrt(0.5))
    assert ArccosRatio().at(0.5) == pytest.approx(2 / 3)
    assert UniformRatio(least=0.2, most=0.6).at(0.5) == pytest.approx(0.4)


# ---- set sizes


@pytest.mark.parametrize("cls", SIZES)
@pytest.mark.parametrize("num_tokens", [1, 2, 7, 64, 256])
@pytest.mark.parametrize("num_steps", [1, 2, 6, 63, 64, 1000])
def test_every_step_makes_some_known(cls: type[SetSizes], num_tokens: int, num_steps: int) -> None:
    counts = cls(num_steps=num_steps).counts(num_tokens)
    assert len(counts) == min(num_steps, num_tokens)
    assert sum(counts) == num_tokens
    assert min(counts) >= 1


def test_sizes_are_their_formulas() -> None:
    for sizes, share in (
        (CosineSizes(num_steps=6), lambda r: math.cos(math.pi / 2 * r)),
        (ArccosSizes(num_steps=6), lambda r: math.acos(r) * 2 / math.pi),
        (LinearSizes(num_steps=6), lambda r: 1 - r),
    ):
        left = 64 - torch.tensor(sizes.counts(64)).cumsum(0)
        assert left.tolist() == [math.floor(64 * share((s + 1) / 6) + 1e-9) for s in range(6)]


# ---- training


@pytest.mark.parametrize("ratio", RATIOS, ids=lambda ratio: type(ratio).__name__)
def test_training_predicts_what_is_masked_and_nothing_else(ratio: MaskRatio) -> None:
    step = Masked(mask_ratio=ratio).training(GRID, Prefix(2), BatchRng(3, 5))
    masks = step.feed.kind == Kind.LEARNED
    assert torch.equal(step.feed.at[:, masks], step.read.token)
    assert torch.equal(step.feed.at[:, step.read.slot[:, 0]], step.read.token)
    tokens = step.feed.at[:, 2:].sort().values
    assert torch.equal(tokens, torch.arange(16).expand(5, -1))
    assert not step.feed.keep.any()
    assert len(step.read.token.unique(dim=0)) == 5


def test_one_ratio_for_a_batch() -> None:
    ordering = Masked(mask_ratio=UniformRatio())
    counts = {len(ordering.training(GRID, Prefix(1), BatchRng(seed, 3)).read) for seed in range(40)}
    assert len(counts) > 8
    assert counts <= set(range(1, 17))


# ---- decoding


def known_after_each(ordering: Masked, confidence: Tensor | None = None) -> list[list[set[int]]]:
    """For each step, and one more, the tokens fed as known to each of three samples."""
    plan, drawn = ordering.steps(GRID, Prefix(1), SampleRng([1, 2, 3])), None
    known = []
    while True:
        try:
            step = plan.send(drawn)
        except StopIteration:
            return known
        tokens = step.feed.source[:, step.feed.kind == Kind.TOKEN]
        known.append([set(row) for row in tokens.tolist()])
        if confidence is not None:
            drawn = Drawn(torch.zeros_like(step.read.token), confidence.expand(3, -1).gather(1, step.read.token))


@pytest.mark.parametrize("choice", [None, ConfidenceChoice()])
def test_what_is_known_stays_known(choice: Choice | None) -> None:
    known = known_after_each(Masked(set_sizes=LinearSizes(num_steps=4), choice=choice))
    assert [[len(each) for each in row] for row in known] == [[n] * 3 for n in (0, 4, 8, 12)]
    for before, after in itertools.pairwise(known):
        assert all(a <= b for a, b in zip(before, after, strict=True))
    assert known[1][0] != known[1][1]


def test_the_most_confident_are_kept() -> None:
    confidence = -torch.rand(16, generator=torch.Generator().manual_seed(0))
    order = confidence.argsort(descending=True).tolist()
    ordering = Masked(set_sizes=LinearSizes(num_steps=4), choice=ConfidenceChoice(temperature=0.0))
    for number, row in enumerate(known_after_each(ordering, confidence)):
        assert row == [set(order[: 4 * number])] * 3


def test_confidence_is_log_prob_or_logit_plus_annealed_gumbel_noise() -> None:
    log_prob, logit = torch.tensor([[-1.0, -2.0, -3.0]]), torch.tensor([[1.0, 5.0, 3.0]])
    drawn = Drawn(torch.zeros(1, 3), log_prob, logit)

    def rank(choice: Choice, step: int, seed: int = 0) -> list[int]:
        return choice.ranks(drawn, 3, Progress(step, 4, 0, 1, 3), SampleRng([seed]))[0].tolist()

    assert rank(ConfidenceChoice(temperature=0.0), 0) == [0, 1, 2]
    assert rank(ConfidenceChoice(temperature=0.0, by_logit=True), 0) == [1, 2, 0]
    # Without noise in the last step, whatever the temperature.
    assert rank(ConfidenceChoice(temperature=1e6), 3) == [0, 1, 2]
    gumbel = -(-SampleRng([7]).uniform(3).log()).log()
    expected = (log_prob + 2.0 * 0.75 * gumbel).argsort(descending=True)[0].tolist()
    assert rank(ConfidenceChoice(temperature=2.0), 0, seed=7) == expected
    # Softened, it is log p / s + τ (1 - r) g, s = 0.5 + 0.8 · 0.75.
    softened = (log_prob / 1.1 + 2.0 * 0.75 * gumbel).argsort(descending=True)[0].tolist()
    assert rank(ConfidenceChoice(temperature=2.0, softened=True), 0, seed=7) == softened
    # A Gumbel-perturbed ranking begins with i as often as softmax(confidence / temperature) says.
    first = [rank(ConfidenceChoice(temperature=1 / 0.75), 0, seed)[0] for seed in range(3000)]
    shares = torch.tensor(first).bincount(minlength=3) / 3000
    assert torch.allclose(shares, log_prob[0].softmax(0), atol=0.03)
    # Heads without logits are judged by what they have.
    drawn = Drawn(torch.zeros(1, 3), log_prob)
    assert rank(ConfidenceChoice(temperature=0.0, by_logit=True), 0) == [0, 1, 2]


def test_masked_tokens_are_drawn_again_with_other_noise() -> None:
    """With logits that never change, the same noise would draw the same guess again and again."""
    generator = tiny_generator(
        Masked(set_sizes=LinearSizes(num_steps=8), choice=ConfidenceChoice()), grid=(4, 4), codebook_size=64
    )
    for parameter in generator.head.parameters():
        parameter.data.zero_()
    seen: list[Tensor] = []

    def keep(partial: Partial) -> None:
        seen.append(partial.tokens.clone())
        assert partial.known.all()
        assert torch.isfinite(partial.preview()).all()

    Sampler().sample(generator, torch.tensor([0, 1]), seeds=[5, 6], on_step=keep)
    assert ((seen[0] != seen[1]).float().mean(1) > 0.5).all()
    assert ((seen[-2] == seen[-1]).float().mean(1) > 0.5).all()


def test_a_head_that_tells_no_probability_is_refused() -> None:
    class Silent(DiscreteHead):
        tells_probability = False

    tiny = tiny_generator()
    with pytest.raises(ValueError, match="keeps the tokens that are likeliest, but Silent does not tell"):
        Generator(
            tokenizer=tiny.tokenizer.module,
            ordering=Masked(choice=ConfidenceChoice()),
            backbone=tiny_generator().backbone,
            head=Silent(),
        )


# ---- the bound


class Given(Rng):
    """A given permutation, and a given uniform number."""

    batch = 1

    def __init__(self, order: tuple[int, ...], uniform: float) -> None:
        self.order = order
        self.share = uniform

    def uniform(self, *shape: int) -> Tensor:
        return torch.full((1, *shape), self.share)

    def normal(self, *shape: int) -> Tensor:
        raise NotImplementedError

    def permutation(self, length: int) -> Tensor:
        return torch.tensor([self.order])


def log_prob_of_order(generator: Generator, tokens: Tensor, label: Tensor, order: tuple[int, ...]) -> float:
    """log p(tokens | order): the sum over all decoding steps."""
    condition, total = generator.conditioner(label), 0.0
    for step in generator.ordering.steps(generator.layout, condition.prefix, Given(order, 0.0)):
        predict = generator.teacher_predict(step, tokens, condition)
        target = tokens.gather(1, step.read.token)
        total += float(generator.head.log_prob(predict, step, target).sum())
    return total


@torch.no_grad()
def test_the_mean_of_the_scored_steps_is_the_sum_of_all() -> None:
    generator = tiny_generator(Masked(set_sizes=CosineSizes(num_steps=4)))
    tokens, label, order = torch.tensor([[0, 2, 1, 1, 0, 2]]), torch.tensor([1]), (3, 0, 5, 1, 4, 2)
    # One draw for each of the six tokens: a step is drawn as often as it has tokens.
    sizes = CosineSizes(num_steps=4).counts(6)
    uniforms = [(token + 0.5) / 6 for token in range(6)]
    scored = [generator.ordering.scored(generator.layout, Prefix(1), Given(order, uniform)) for uniform in uniforms]
    assert [len(each.step.read) for each in scored] == [size for size in sizes for _ in range(size)]
    assert all(each.times == pytest.approx(6 / len(each.step.read)) for each in scored)
    assert len(set(sizes)) > 1
    mean = float(torch.stack([generator.bound(tokens, label, Given(order, uniform)) for uniform in uniforms]).mean())
    assert mean == pytest.approx(log_prob_of_order(generator, tokens, label, order), rel=1e-5)
    assert generator.log_prob(tokens, label) is None


def test_steps_of_even_loss_give_bounds_of_even_size() -> None:
    """Where every token costs the same, whatever the step, the bound is no matter of chance."""
    ordering = Masked(set_sizes=CosineSizes(num_steps=4))
    scored = [ordering.scored(GRID, Prefix(1), BatchRng(seed, 1)) for seed in range(50)]
    assert len({len(each.step.read) for each in scored}) > 1
    assert all(each.times * len(each.step.read) == pytest.approx(16) for each in scored)


@torch.no_grad()
def test_the_bound_bounds_by_enumeration() -> None:
    """p(x) = mean over orders of p(x | order) sums to one, and E[bound] = mean of log p(x | order) <= log p(x)."""
    generator = tiny_generator(Masked(set_sizes=LinearSizes(num_steps=2)), grid=(2, 2), codebook_size=2)
    label, orders = torch.tensor([0]), list(itertools.permutations(range(4)))
    total = 0.0
    for x in itertools.product(range(2), repeat=4):
        tokens = torch.tensor([x])
        each = torch.tensor([log_prob_of_order(generator, tokens, label, order) for order in orders]).double()
        log_p = float(each.logsumexp(0)) - math.log(len(orders))
        total += math.exp(log_p)
        bound = torch.stack([generator.bound(tokens, label, Given(order, u)) for order in orders for u in (0.2, 0.7)])
        assert float(bound.double().mean()) == pytest.approx(float(each.mean()), rel=1e-5)
        assert float(bound.double().mean()) < log_p
    assert total == pytest.approx(1.0, abs=1e-5)


def test_no_bound_where_tokens_are_chosen() -> None:
    generator = tiny_generator(Masked(choice=ConfidenceChoice()))
    assert generator.bound(torch.zeros(1, 6, dtype=torch.long), torch.tensor([0]), BatchRng(0, 1)) is None


# ---- refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TruncatedNormalRatio(mean=0.5), r"ordering.mask_ratio.mean: must be from 0.7 to 1, got 0.5"),
        (lambda: TruncatedNormalRatio(std=0.0), r"ordering.mask_ratio.std: must be from 0.001"),
        (lambda: TruncatedNormalRatio(least=math.nan), r"ordering.mask_ratio.least"),
        (lambda: UniformRatio(least=0.5, most=0.4), r"ordering.mask_ratio.most: must be from 0.5 to 1, got 0.4"),
        (lambda: CosineSizes(num_steps=0), r"ordering.set_sizes.num_steps: must be from 1 to 65536, got 0"),
        (lambda: ArccosSizes(num_steps=10**9), r"ordering.set_sizes.num_steps"),
        (lambda: ConfidenceChoice(temperature=math.inf), r"ordering.choice.temperature"),
        (lambda: ConfidenceChoice(temperature=-1.0), r"ordering.choice.temperature: must be at least 0, got -1"),
    ],
)
def test_options_out_of_range_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()
