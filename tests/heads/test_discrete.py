from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.heads.discrete import DiscreteHead, draw_from_logits
from arlab.heads.head import Hidden, Predicted, Sampling
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.ordering import Ordering, Prefix, condition_slots
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.raster import Raster
from arlab.orderings.set_sizes import LinearSizes
from arlab.orderings.step import Kind, Layout, Progress, Read, Step
from arlab.rng import BatchRng, Noise
from arlab.tokens import TokenSpace
from tests.conformance.test_laws import Rows
from tests.parity.randar import RecordedOrder
from tests.tiny import tiny_generator

LAYOUT = Layout(((1, 2),))


def bound(head: DiscreteHead, ways: int = 1, *, codebook_size: int = 5) -> DiscreteHead:
    head.bind(4, TokenSpace(2, codebook_size), ways, carries=frozenset({Kind.COND, Kind.TOKEN}))
    return head


def hidden(*ways: Tensor, read: Read | None = None) -> Hidden:
    read = Read.own(torch.tensor([0, 1]), torch.tensor([0, 1])) if read is None else read
    return Hidden(ways, read, LAYOUT)


# ---- drawing


def brute_force(logits_V: Tensor, sampling: Sampling) -> Tensor:
    """The distribution after temperature, top-k and top-p, by sorting token by token."""
    prob = (logits_V.double() / sampling.temperature).softmax(-1).tolist()
    ranked = sorted(range(len(prob)), key=lambda token: -prob[token])
    ranked = ranked[: sampling.top_k] if sampling.top_k else ranked
    whole = sum(prob[token] for token in ranked)
    kept: list[int] = []
    for token in ranked:
        if kept and sum(prob[t] for t in kept) / whole >= sampling.top_p:
            break
        kept.append(token)
    total = sum(prob[token] for token in kept)
    return torch.tensor([prob[token] / total if token in kept else 0.0 for token in range(len(prob))])


SETTINGS = [
    Sampling(),
    Sampling(0.5),
    Sampling(1.0, 3),
    Sampling(2.0, 100),
    Sampling(1.0, 0, 0.7),
    Sampling(1.3, 6, 0.6),
    Sampling(1.0, 1),
    Sampling(1.0, 0, 1e-6),
]


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_distribution_is_the_brute_force_one(sampling: Sampling) -> None:
    logits_V = 2 * torch.randn(12)
    expected = brute_force(logits_V, sampling)
    points = 50_000
    drawn = draw_from_logits(
        logits_V.expand(1, points, -1), sampling, ((torch.arange(points) + 0.5) / points).expand(1, -1)
    )
    # An evenly spaced grid of uniform numbers meets each interval of the cumulative distribution to one point.
    frequency = torch.bincount(drawn.tokens[0], minlength=12) / points
    assert (frequency - expected).abs().max() < 2 / points
    # What it says about the likelihood of what it drew is that distribution, too.
    assert drawn.log_prob is not None
    torch.testing.assert_close(drawn.log_prob[0], expected.float().log()[drawn.tokens[0]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.2, 5, 0.9)], ids=str)
def test_frequencies_lie_within_binomial_bounds(sampling: Sampling) -> None:
    logits_V, number = torch.randn(8), 40_000
    drawn = draw_from_logits(logits_V.expand(1, number, -1), sampling, torch.rand(1, number))
    expected = brute_force(logits_V, sampling)
    frequency = torch.bincount(drawn.tokens[0], minlength=8) / number
    deviation = (expected * (1 - expected) / number).sqrt()
    assert ((frequency - expected).abs() <= 5 * deviation).all()


@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_ends_of_the_unit_interval_draw_possible_tokens(sampling: Sampling) -> None:
    logits_V = F.pad(torch.randn(9), (2, 2), value=-torch.inf)
    ends = torch.tensor([[0.0, 1 - 2**-24]])
    drawn = draw_from_logits(logits_V.expand(1, 2, -1), sampling, ends)
    assert (brute_force(logits_V, sampling)[drawn.tokens[0]] > 0).all()


def test_temperature_zero_takes_the_most_likely() -> None:
    logits = torch.randn(2, 3, 6)
    drawn = draw_from_logits(logits, Sampling(0.0, 2, 0.5), torch.rand(2, 3))
    assert torch.equal(drawn.tokens, logits.argmax(-1))
    assert drawn.log_prob is not None
    torch.testing.assert_close(drawn.log_prob, logits.log_softmax(-1).amax(-1))


@pytest.mark.parametrize("arguments", [(-1.0,), (1.0, -1), (1.0, 0, 0.0), (1.0, 0, 1.5)])
def test_impossible_settings_are_refused(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Sampling(*arguments)


@pytest.mark.parametrize("sampling", [*SETTINGS, Sampling(0.0)], ids=str)
def test_the_logit_is_the_one_given(sampling: Sampling) -> None:
    logits = torch.randn(2, 3, 12)
    drawn = draw_from_logits(logits, sampling, torch.rand(2, 3))
    assert torch.equal(drawn.logit, logits.gather(-1, drawn.tokens[..., None])[..., 0])


# ---- chunks


TWO_WAYS = Read(
    torch.arange(7),
    slot=torch.tensor([[0, 0], [0, 1], [1, 1], [2, 0], [3, 4], [4, 2], [5, 5]]),
    way=torch.tensor([[1, 0], [0, 1], [0, 1], [0, 0], [1, 0], [0, 1], [0, 0]]),
    weight=torch.tensor([[1.0, 0.0], [0.25, 0.75], [0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.1, 0.9], [1.0, 0.0]]),
)
ONE_WAY = Read.own(torch.arange(7), torch.tensor([3, 0, 1, 2, 5, 4, 0]))
PER_SAMPLE = Read.own(torch.rand(3, 7).argsort(-1), torch.arange(6).repeat(2)[:7])


@pytest.mark.parametrize("read", [ONE_WAY, PER_SAMPLE, TWO_WAYS], ids=["one way", "per sample", "two ways"])
@pytest.mark.parametrize("chunk", [1, 6, 9, 20, 21, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_chunks_change_neither_losses_nor_gradients(read: Read, chunk: int, smoothing: float) -> None:
    plain, chunked = (
        bound(DiscreteHead(zero_init=False, bias=True, label_smoothing=smoothing, chunk=size), ways=2)
        for size in (None, chunk)
    )
    chunked.load_state_dict(plain.state_dict())
    step = Step(condition_slots(Prefix(6)), read)
    values, target, weight = torch.randn(2, 3, 6, 4), torch.randint(5, (3, 7)), torch.rand(3, 7)
    found = []
    for head in (plain, chunked):
        ways = values.clone().requires_grad_()
        predicted = Predicted(hidden(ways[0], ways[1], read=read))
        loss = head.loss(lambda p=predicted: p, step, target, BatchRng(0, 3))
        (loss * weight).sum().backward()
        gradients = [p.grad for p in head.parameters() if p.grad is not None]
        log_prob = head.log_prob(lambda p=predicted: p, step, target)
        found.append([loss, log_prob, ways.grad, *gradients])
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_chunks_never_hold_more_logits_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    head = bound(DiscreteHead(zero_init=False, chunk=9))
    sizes: list[int] = []
    cross_entropy = F.cross_entropy

    def watched(logits: Tensor, *rest: Tensor, **options: object) -> Tensor:
        sizes.append(len(logits))
        return cross_entropy(logits, *rest, **options)

    monkeypatch.setattr(F, "cross_entropy", watched)
    predicted = Predicted(hidden(torch.randn(3, 6, 4, requires_grad=True), read=ONE_WAY))
    step = Step(condition_slots(Prefix(6)), ONE_WAY)
    head.loss(lambda: predicted, step, torch.randint(5, (3, 7)), BatchRng(0, 3)).sum().backward()
    # Forward, and once more backward.
    assert sizes[:3] == [9, 9, 3]
    assert sorted(sizes[3:]) == [3, 9, 9]


def test_a_generator_trains_the_same_in_chunks() -> None:
    losses = []
    for chunk in (None, 4):
        generator = tiny_generator(NextNeighbor()).train()
        generator.head.chunk = chunk
        tokens, label = torch.arange(24).reshape(4, 6) % 3, torch.tensor([0, 1, 1, 0])
        loss = generator.objective.loss(generator, tokens, label, BatchRng(0, 4), generator.layout)
        loss.backward()
        losses.append([loss, *(p.grad for p in generator.parameters() if p.grad is not None)])
    for one, other in zip(*losses, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


# ---- logits


def test_guidance_formula() -> None:
    head = bound(DiscreteHead(zero_init=False, bias=True))
    c, u = torch.randn(2, 2, 4), torch.randn(2, 2, 4)
    predicted = Predicted(hidden(c), hidden(u))
    cond, free = head.outputs[0](c), head.outputs[0](u)
    for scale in (0.0, 1.0, 2.5):
        torch.testing.assert_close(head.logits(predicted, scale), free + scale * (cond - free))
    torch.testing.assert_close(head.logits(Predicted(hidden(c)), 2.5), cond)


def test_ways_are_mixed_as_logits() -> None:
    """The mean of two logits is the geometric mean of two distributions, not their mean."""
    head = bound(DiscreteHead(zero_init=False), ways=2)
    first, second = torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    read = Read(
        torch.tensor([0, 1]),
        slot=torch.tensor([[0, 0], [0, 1]]),
        way=torch.tensor([[1, 0], [0, 1]]),
        weight=torch.tensor([[1.0, 0.0], [0.25, 0.75]]),
    )
    logits = head.logits(Predicted(hidden(first, second, read=read)))
    torch.testing.assert_close(logits[:, 0], head.outputs[1](second[:, 0]))
    mixed = 0.25 * head.outputs[0](first[:, 0]) + 0.75 * head.outputs[1](second[:, 1])
    torch.testing.assert_close(logits[:, 1], mixed)


def test_starts_uniform() -> None:
    head = bound(DiscreteHead())
    predicted = Predicted(hidden(torch.randn(1, 2, 4)))
    torch.testing.assert_close(head.logits(predicted).log_softmax(-1), torch.full((1, 2, 5), -math.log(5)))


def test_loss_smooths_in_training_only() -> None:
    head = bound(DiscreteHead(zero_init=False, label_smoothing=0.2))
    predicted = Predicted(hidden(torch.randn(1, 2, 4)))
    step = Step(condition_slots(Prefix(2)), Read.own(torch.tensor([0, 1]), torch.tensor([0, 1])))
    target = torch.tensor([[3, 1]])
    log_prob = head.logits(predicted).log_softmax(-1)
    nats = -log_prob.gather(-1, target[..., None])[..., 0]
    smoothed = 0.8 * nats - 0.2 * log_prob.mean(-1)
    rng = BatchRng(0, 1)
    torch.testing.assert_close(head.train().loss(lambda: predicted, step, target, rng), smoothed)
    torch.testing.assert_close(head.eval().loss(lambda: predicted, step, target, rng), nats)
    torch.testing.assert_close(head.log_prob(lambda: predicted, step, target), -nats)


def test_noise_is_looked_up_by_token() -> None:
    """Two tokens drawn in either order receive the same uniform numbers."""
    head = bound(DiscreteHead())
    drawn = {}
    for order in ([0, 1], [1, 0]):
        read = Read.own(torch.tensor(order), torch.tensor([0, 1]))
        step = Step(condition_slots(Prefix(2)), read, Progress(0, 1, 0, 2, 2))
        predicted = Predicted(hidden(torch.zeros(3, 2, 4), read=read))
        tokens = head.draw(lambda p=predicted: p, step, 1.0, Sampling(), Noise([7, 8, 9], 2)).tokens
        drawn[order[0]] = tokens[:, torch.tensor(order)]
    assert torch.equal(drawn[0], drawn[1])
    assert len(drawn[0].unique()) > 1


def test_refusals() -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        DiscreteHead(label_smoothing=1.0)
    with pytest.raises(ValueError, match="chunk: must be at least 0, got -1"):
        DiscreteHead(chunk=-1)
    with pytest.raises(ValueError, match="needs a tokenizer with a codebook"):
        DiscreteHead().bind(4, TokenSpace(2), 1, carries=frozenset({Kind.COND, Kind.TOKEN}))
    with pytest.raises(
        ValueError, match="lists a logit for every code, at most 4194304; this tokenizer has 2305843009213"
    ):
        DiscreteHead().bind(4, TokenSpace(61, 2**61), 1, carries=frozenset({Kind.COND, Kind.TOKEN}))


# ---- the likelihood of whole images


class OneOrder(RecordedOrder):
    """One order for all images: only then do the probabilities belong to one distribution."""

    static = True

    def __init__(self) -> None:
        super().__init__(order_BN=torch.tensor([2, 0, 3, 1]).expand(81, -1), set_sizes=LinearSizes(num_steps=4))


@pytest.mark.parametrize("ordering", [Raster(), Rows(), NextNeighbor(), OneOrder()], ids=lambda o: type(o).__name__)
def test_probabilities_of_all_images_sum_to_one(ordering: Ordering) -> None:
    generator = tiny_generator(ordering, grid=(2, 2)).double()
    images = torch.tensor(list(itertools.product(range(3), repeat=4)))
    log_prob = generator.log_prob(images, torch.ones(81, dtype=torch.long))
    assert log_prob is not None
    likelihood = log_prob.double().sum(-1).exp()
    assert float(likelihood.sum()) == pytest.approx(1, abs=1e-5)
    # They are not all the same, and depend on the class.
    assert float(likelihood.max() / likelihood.min()) > 5
    other = generator.log_prob(images, torch.zeros(81, dtype=torch.long))
    assert other is not None
    assert (log_prob - other).abs().max() > 1e-2


def test_drawn_orders_give_no_likelihood() -> None:
    generator = tiny_generator(RandomInstructed(), grid=(2, 2))
    assert generator.log_prob(torch.zeros(2, 4, dtype=torch.long), torch.tensor([0, 1])) is None


def test_likelihood_is_the_loss() -> None:
    generator = tiny_generator()
    images, label = torch.randint(3, (4, 6)), torch.tensor([0, 1, 1, 0])
    condition = generator.conditioner(label)
    step = generator.ordering.teacher(generator.layout, condition.prefix, BatchRng(0, 4), images.device)
    predict = generator.teacher_predict(step, images, condition)
    loss = generator.head.loss(predict, step, images, BatchRng(0, 4))
    torch.testing.assert_close(generator.log_prob(images, label), -loss.detach())
    torch.testing.assert_close(loss, F.cross_entropy(generator.head.logits(predict()).mT, images, reduction="none"))
