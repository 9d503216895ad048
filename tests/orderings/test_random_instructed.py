from __future__ import annotations

import pytest
import torch

from arlab.orderings.hilbert import Hilbert
from arlab.orderings.ordering import Prefix
from arlab.orderings.orders import RandomOrder, Walk
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.set_sizes import CosineSizes, LinearSizes
from arlab.orderings.step import Kind, Layout, Step
from arlab.rng import BatchRng, SampleRng
from tests.orderings.test_random_causal import same
from tests.tiny import tiny_generator

GRID = Layout(((3, 4),))
ONE_BY_ONE = LinearSizes(num_steps=12)


@pytest.mark.parametrize("length", [0, 1, 3])
@pytest.mark.parametrize("order", [Walk(), RandomOrder()], ids=lambda order: type(order).__name__)
def test_the_pass_is_the_steps_of_one_token_laid_end_to_end(order: Walk | RandomOrder, length: int) -> None:
    ordering = RandomInstructed(order=order, set_sizes=ONE_BY_ONE)
    prefix = Prefix(length, torch.rand(2, length) < 0.5 if length > 1 else None)
    steps = Step.cat(list(ordering.steps(GRID, prefix, SampleRng([0, 1]))))
    scored = ordering.scored(GRID, prefix, SampleRng([0, 1]))
    assert same(scored.step, steps)
    assert scored.exact is not order.drawn
    if order.drawn:
        assert same(ordering.training(GRID, prefix, SampleRng([0, 1])), steps)


def test_training_draws_whatever_the_order_of_decoding() -> None:
    step = RandomInstructed(order=Walk()).training(GRID, Prefix(1), BatchRng(0, 3))
    order_BN, fed = step.read.token, step.feed
    assert len(order_BN.unique(dim=0)) == 3
    assert fed.kind.tolist() == [Kind.COND] + [Kind.LEARNED, Kind.TOKEN] * 11 + [Kind.LEARNED]
    # Each instruction stands on the place of the token that it predicts and that follows it.
    assert torch.equal(fed.at[:, 1::2], order_BN)
    assert torch.equal(fed.at[:, 2::2], order_BN[:, :-1])
    assert torch.equal(fed.source[:, 2::2], order_BN[:, :-1])
    assert step.read.slot[:, 0].tolist() == list(range(1, 24, 2))


def test_several_a_step() -> None:
    """The first instruction stays, the others are fed again, each in front of its token."""
    ordering = RandomInstructed(order=Walk(), set_sizes=CosineSizes(num_steps=3))
    steps = list(ordering.steps(Layout(((7,),)), Prefix(1), BatchRng(0, 1)))
    assert [len(step.read) for step in steps] == [1, 3, 3]
    assert [step.feed.kind.tolist() for step in steps] == [
        [Kind.COND, Kind.LEARNED],
        [Kind.TOKEN, Kind.LEARNED, Kind.LEARNED, Kind.LEARNED],
        [Kind.TOKEN, *[Kind.LEARNED, Kind.TOKEN] * 2, *[Kind.LEARNED] * 3],
    ]
    assert [step.feed.at.tolist() for step in steps] == [[-1, 0], [0, 1, 2, 3], [1, 2, 2, 3, 3, 4, 5, 6]]
    assert [step.feed.keep.tolist() for step in steps] == [
        [True, True],
        [True, True, False, False],
        [True] * 6 + [False] * 2,
    ]
    assert [step.read.slot[:, 0].tolist() for step in steps] == [[1], [1, 2, 3], [5, 6, 7]]


def test_what_stays_is_what_was_trained() -> None:
    """After any number of steps the cache holds a beginning of the trained sequence."""
    few, many = (
        RandomInstructed(order=Walk(traversal=Hilbert()), set_sizes=sizes)
        for sizes in (CosineSizes(num_steps=4), ONE_BY_ONE)
    )
    kept = [Step.cat(list(o.steps(GRID, Prefix(1), BatchRng(0, 1)))).feed for o in (few, many)]
    short, whole = (fed.select(fed.keep) for fed in kept)
    for name in ("kind", "source", "at"):
        assert torch.equal(getattr(short, name), getattr(whole, name)[: len(short)])


def test_published_counts() -> None:
    """RandAR's 88 steps of 256 tokens: after step s ⌊256 (1 - cos(π/2 · (s + 1) / 88)) + 1⌋ are known."""
    steps = list(RandomInstructed().steps(Layout(((16, 16),)), Prefix(1), BatchRng(0, 1)))
    share = 1 - torch.cos(torch.pi / 2 * torch.arange(1, 89, dtype=torch.float64) / 88)
    known = (256 * share + 1).floor().clamp(max=256)
    drawn = torch.tensor([step.progress.drawn for step in steps if step.progress is not None])
    assert len(steps) == 88
    # Early steps draw one token at least, more than the formula gives them.
    assert torch.equal(drawn, torch.maximum(known, torch.arange(1, 89)).long())


def test_few_tokens_are_drawn_one_by_one() -> None:
    assert all(len(step.read) == 1 for step in RandomInstructed().steps(GRID, Prefix(1), BatchRng(0, 1)))


def test_a_likelihood_one_by_one_in_a_settled_order() -> None:
    images = torch.cartesian_prod(*[torch.arange(3)] * 4)
    generator = tiny_generator(RandomInstructed(order=Walk()), grid=(2, 2))
    log_prob = generator.log_prob(images, torch.ones(81, dtype=torch.long))
    assert log_prob is not None
    assert float(log_prob.double().sum(-1).exp().sum()) == pytest.approx(1, abs=1e-5)
    drawn = tiny_generator(RandomInstructed(), grid=(2, 2))
    assert drawn.log_prob(images, torch.ones(81, dtype=torch.long)) is None
    assert drawn.bound(images, torch.ones(81, dtype=torch.long), BatchRng(0, 81)) is not None


def test_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="RandomInstructed walks a single grid"):
        RandomInstructed().refuse(Layout(((1, 1), (2, 2))), None)
