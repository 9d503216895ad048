from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.places import LearnedPlaces
from arlab.backbones.rotary import AxialRotary, IdentityRotation
from arlab.backbones.target_places import TargetPlaces
from arlab.backbones.transformer import Transformer
from arlab.generators.generator import Generator
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.annealing import AlwaysDrawn, LinearAnnealing
from arlab.orderings.hilbert import Hilbert
from arlab.orderings.ordering import Prefix
from arlab.orderings.orders import RandomOrder, Walk
from arlab.orderings.random_causal import RandomCausal
from arlab.orderings.step import Kind, Layout, Step
from arlab.rng import BatchRng, SampleRng
from tests.conformance.test_laws import Rows
from tests.tiny import GrayLevels

GRID = Layout(((3, 4),))


def same(one: Step, other: Step) -> bool:
    """All columns of slots and reads, drawn per sample or not."""
    pairs = [
        (getattr(getattr(one, part), field.name), getattr(getattr(other, part), field.name))
        for part in ("feed", "read")
        for field in dataclasses.fields(getattr(one, part))
    ]
    return all((a is None and b is None) or torch.equal(*torch.broadcast_tensors(a, b)) for a, b in pairs)


@pytest.mark.parametrize("length", [0, 1, 3])
@pytest.mark.parametrize("order", [Walk(), RandomOrder()], ids=lambda order: type(order).__name__)
def test_the_pass_is_the_steps_laid_end_to_end(order: Walk | RandomOrder, length: int) -> None:
    ordering, prefix = RandomCausal(order=order), Prefix(length, torch.rand(2, length) < 0.5 if length > 1 else None)
    steps = Step.cat(list(ordering.steps(GRID, prefix, SampleRng([0, 1]))))
    scored = ordering.scored(GRID, prefix, SampleRng([0, 1]))
    assert same(scored.step, steps)
    assert scored.exact is not order.drawn
    assert scored.times == 1
    if not order.drawn:
        assert same(ordering.training(GRID, prefix, SampleRng([0, 1])), steps)


def test_slots_are_as_published() -> None:
    """[start, condition, tokens in order]; each slot but the start is told what it predicts."""
    step = RandomCausal().training(GRID, Prefix(1), BatchRng(0, 2), 0.0)
    order_BN, fed = step.read.token, step.feed
    assert fed.kind.tolist() == [Kind.LEARNED, Kind.COND] + [Kind.TOKEN] * 11
    assert torch.equal(fed.source[:, 2:], order_BN[:, :-1])
    assert torch.equal(fed.at[:, 2:], order_BN[:, :-1])
    assert fed.target is not None
    assert torch.equal(fed.target[:, 1:], order_BN)
    assert (fed.target[:, 0] == -1).all()
    assert step.read.slot[:, 0].tolist() == list(range(1, 13))


def test_orders_are_permutations_of_their_own_and_uniform() -> None:
    tokens = RandomCausal().training(Layout(((3,),)), Prefix(1), BatchRng(0, 6000), 0.0).read.token
    found = dict.fromkeys(itertools.permutations(range(3)), 0)
    for row in tokens.tolist():
        found[tuple(row)] += 1
    assert all(count == pytest.approx(1000, abs=120) for count in found.values())


@pytest.mark.parametrize(
    ("trained", "share"), [(0.0, 1.0), (0.5, 1.0), (0.625, 0.5), (0.7, 0.2), (0.75, 0.0), (1, 0.0)]
)
def test_annealing(trained: float, share: float) -> None:
    assert LinearAnnealing().probability(trained) == pytest.approx(share)
    tokens = RandomCausal().training(GRID, Prefix(1), BatchRng(1, 1000), trained).read.token
    drawn = (tokens.expand(1000, -1) != torch.arange(12)).any(-1).float().mean()
    assert float(drawn) == pytest.approx(share, abs=0.05)
    assert AlwaysDrawn().probability(trained) == 1


def test_it_comes_down_to_the_order_of_decoding() -> None:
    """Both share one order: here a curve."""
    ordering = RandomCausal(order=Walk(traversal=Hilbert()))
    expected = torch.cat(Hilbert().groups((3, 4)))
    assert torch.equal(ordering.training(GRID, Prefix(1), BatchRng(0, 1)).read.token, expected)
    assert torch.equal(torch.cat([s.read.token for s in ordering.steps(GRID, Prefix(1), BatchRng(0, 1))]), expected)


def told(ordering: RandomCausal) -> Generator:
    """A generator of 2 x 2 tokens of three values, whose slots are told their targets."""
    torch.manual_seed(0)
    backbone = Transformer(
        width=16,
        num_layers=2,
        attention=Attention(num_heads=2),
        rotary=AxialRotary(nowhere=IdentityRotation()),
        places=[LearnedPlaces(), TargetPlaces()],
        init_std=0.3,
    )
    made = Generator(
        tokenizer=GrayLevels(grid=(2, 2)),
        ordering=ordering,
        backbone=backbone,
        head=DiscreteHead(zero_init=False, init_std=0.5),
        ema_decay=0.0,
    ).eval()
    torch.nn.init.normal_(made.get_parameter("backbone.places.1.table"), std=0.3)
    return made


class Given(BatchRng):
    """One order for all."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__(0, 81)
        self.order = order

    def permutation(self, length: int) -> Tensor:
        return torch.tensor(self.order).expand(self.batch, -1)


def test_a_likelihood_where_the_order_is_settled_a_bound_where_it_is_drawn() -> None:
    """p sums to one over all images, and the bound's mean is below log p of the mixture over orders."""
    images = torch.cartesian_prod(*[torch.arange(3)] * 4)
    label = torch.ones(81, dtype=torch.long)
    settled = told(RandomCausal())
    log_prob = settled.log_prob(images, label)
    assert log_prob is not None
    assert float(log_prob.double().sum(-1).exp().sum()) == pytest.approx(1, abs=1e-5)
    drawn = told(RandomCausal(order=RandomOrder()))
    assert drawn.log_prob(images, label) is None
    orders = list(itertools.permutations(range(4)))
    under = torch.stack([drawn.bound(images, label, Given(order)) for order in orders]).double()
    mean, mixture = under.mean(0), under.exp().mean(0).log()
    assert (mean <= mixture + 1e-9).all()
    assert float((mixture - mean).max()) > 1e-3
    assert float(mixture.exp().sum()) == pytest.approx(1, abs=1e-5)


def test_refused() -> None:
    with pytest.raises(ValueError, match="RandomCausal walks a single grid"):
        RandomCausal().refuse(Layout(((1, 1), (2, 2))), None)
    with pytest.raises(ValueError, match=r"ordering\.order\.traversal: Rows visits several tokens a step"):
        RandomCausal(order=Walk(traversal=Rows())).refuse(GRID, None)
    for wrong in ({"start": -0.1}, {"start": float("nan")}, {"start": 0.8}, {"end": 1.5}):
        with pytest.raises(ValueError, match=r"ordering\.annealing\.(start|end)"):
            LinearAnnealing(**wrong)
