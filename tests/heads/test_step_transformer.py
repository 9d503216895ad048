"""The transformer over the tokens of a step: who sees whom, and that order, copies and company make no difference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from arlab.heads.groups import Groups
from arlab.heads.head import Hidden, Predict, Predicted
from arlab.heads.step_blocks import CrossBlock, ModulatedBlock, StepBlock
from arlab.heads.step_transformer import StepTransformer
from arlab.heads.two_pace_times import TwoPaceTimes
from arlab.orderings.ordering import slots
from arlab.orderings.step import Kind, Layout, Read, Slots, Step

LAYOUT = Layout(((1, 1), (1, 2), (2, 3)))
SIDE_BY_SIDE, MIXED = [0, 1, 1, 2, 2, 2, 2, 2, 2], [0, 1, 0, 2, 1, 2, 0, 2, 1]
BLOCKS = pytest.mark.parametrize("block", [ModulatedBlock(), CrossBlock()], ids=lambda block: type(block).__name__)
GROUPS = pytest.mark.parametrize("groups", [SIDE_BY_SIDE, MIXED], ids=["side by side", "mixed"])


def network(block: StepBlock | None = None, *, ways: int = 1) -> StepTransformer:
    """Bound, with weights far enough from zero that every part matters, in double precision."""
    torch.manual_seed(0)
    made = StepTransformer(width=16, num_blocks=2, num_heads=2, block=block)
    made.bind(5, 3, 6, ways)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.double()


def step_of(groups: list[int], tokens: Tensor | None = None) -> Step:
    """Tokens 0, 1, ... (or those given), token m drawn in step ``groups[m]``, predicted by slot m."""
    token = torch.arange(len(groups)) if tokens is None else tokens
    own = torch.arange(len(groups))
    feed = Slots.cat([slots(Kind.LEARNED, own[[m]], own[[m]], group) for m, group in enumerate(groups)])
    return Step(feed, Read.own(token, own))


def predicts(step: Step, *ways_BSD: Tensor) -> Predict:
    def predict(noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
        return Predicted(Hidden(ways_BSD, step.read, LAYOUT))

    return predict


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def said(made: StepTransformer, step: Step, h_BSD: Tensor, x_BMKC: Tensor, t_BMK: Tensor) -> Tensor:
    return made.look(predicts(step, h_BSD), step)(x_BMKC, t_BMK).conditional


H, X, T = numbers(2, 9, 5), numbers(2, 9, 1, 3), numbers(2, 9, 1).sigmoid()


@BLOCKS
@GROUPS
def test_tokens_of_other_steps_are_not_seen(block: StepBlock, groups: list[int]) -> None:
    made, step = network(block), step_of(groups)
    for token in range(9):
        inputs = [each.clone().requires_grad_() for each in (H, X, T)]
        out = said(made, step, *inputs)
        slopes = torch.autograd.grad(out[:, token].sum(), inputs)
        fellow_M = torch.tensor(groups) == groups[token]
        for slope in slopes:
            size_M = slope.abs().flatten(2).sum((0, 2)) if slope.dim() > 2 else slope.abs().sum(0)
            assert (size_M[~fellow_M] == 0).all()
        # Noised values and conditions of all fellows are.
        for slope in slopes[:2]:
            assert (slope.abs().flatten(2).sum((0, 2))[fellow_M] > 0).all()


@BLOCKS
@GROUPS
def test_the_order_of_tokens_does_not_matter(block: StepBlock, groups: list[int]) -> None:
    made, order = network(block), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    shuffled = step_of([groups[m] for m in order.tolist()], order)
    there = said(made, shuffled, H[:, order], X[:, order], T[:, order])
    torch.testing.assert_close(there, said(made, step_of(groups), H, X, T)[:, order], rtol=0, atol=1e-12)


@BLOCKS
def test_copies_are_calls_of_their_own(block: StepBlock) -> None:
    made, step = network(block), step_of(MIXED)
    x_BMKC, t_BMK = numbers(2, 9, 3, 3), numbers(2, 9, 3).sigmoid()
    together = said(made, step, H, x_BMKC, t_BMK)
    assert together.shape == (2, 9, 3, 6)
    for copy in range(3):
        alone = said(made, step, H, x_BMKC[:, :, [copy]], t_BMK[:, :, [copy]])
        torch.testing.assert_close(together[:, :, [copy]], alone, rtol=0, atol=1e-12)


@BLOCKS
@GROUPS
def test_a_step_alone_is_the_step_among_others(block: StepBlock, groups: list[int]) -> None:
    """Decoding looks at one step, training at all of them; one of the steps has a single token."""
    made = network(block)
    whole = said(made, step_of(groups), H, X, T)
    for group in range(3):
        rows = torch.tensor([m for m, own in enumerate(groups) if own == group])
        alone = said(made, step_of([group] * len(rows), rows), H[:, rows], X[:, rows], T[:, rows])
        torch.testing.assert_close(alone, whole[:, rows], rtol=0, atol=1e-12)


@BLOCKS
def test_places_of_each_sample(block: StepBlock) -> None:
    made, order = network(block), torch.randperm(9, generator=torch.Generator().manual_seed(1))
    x_BMKC, t_BMK = numbers(2, 9, 2, 3), numbers(2, 9, 2).sigmoid()
    both = said(made, step_of([0] * 9, torch.stack((torch.arange(9), order))), H, x_BMKC, t_BMK)
    for sample, token in enumerate((torch.arange(9), order)):
        part = slice(sample, sample + 1)
        alone = said(made, step_of([0] * 9, token), H[part], x_BMKC[part], t_BMK[part])
        torch.testing.assert_close(both[part], alone, rtol=0, atol=1e-12)
    assert not torch.allclose(both[1], said(made, step_of([0] * 9), H, x_BMKC, t_BMK)[1])


@BLOCKS
def test_ways_that_meet_are_mixed_as_conditions(block: StepBlock) -> None:
    """Two ways that say the same, by the same weights, are one."""
    made, step = network(block, ways=2), step_of(SIDE_BY_SIDE)
    made.conditions[1].load_state_dict(made.conditions[0].state_dict())
    own = torch.arange(9)
    weight_MK = torch.stack((torch.full((9,), 0.3), torch.full((9,), 0.7)), 1).double()
    read = Read(own, own[:, None].expand(-1, 2), torch.tensor([[0, 1]]).expand(9, 2), weight_MK)
    twice = Step(step.feed, read)
    met = made.look(predicts(twice, H, H), twice)(X, T).conditional
    torch.testing.assert_close(met, said(made, step, H, X, T), rtol=0, atol=1e-6)
    one_sided = made.look(predicts(twice, H, 0 * H), twice)(X, T).conditional
    assert not torch.allclose(met, one_sided)


def test_many_groups_and_few_attend_alike() -> None:
    q, k, v = (numbers(2, 2, 40, 4 + extra) for extra in (0, 0, 3))
    for count in (1, 2, 10, 40):
        group_M = torch.arange(40) // (40 // count)
        groups = Groups(group_M)
        assert (groups.sizes is None) is (count == 40)
        scores = (q @ k.mT / 2).masked_fill(group_M[:, None] != group_M, -torch.inf)
        torch.testing.assert_close(groups.attend(q, k, v), scores.softmax(-1) @ v)


def test_it_starts_from_zero() -> None:
    made = StepTransformer(width=16, num_heads=2)
    made.bind(5, 3, 3, 1)
    out = said(made, step_of(SIDE_BY_SIDE), H.float(), X.float(), T.float())
    assert torch.equal(out, torch.zeros(2, 9, 1, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "width: must be at least 1"),
        ({"num_blocks": 0}, "num_blocks: must be from 1"),
        ({"num_heads": 3}, r"num_heads: must divide the width 256 into heads of an even width of at least 6, got 3"),
        ({"num_heads": 128}, "num_heads: must divide the width 256"),
        ({"span": float("nan")}, "span: "),
    ],
    ids=str,
)
def test_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepTransformer(**options)


def test_two_paces() -> None:
    times = TwoPaceTimes()()
    assert len(times) == 25
    assert (times[0], times[11], times[12], times[-1]) == (1.0, 0.3, 0.25, 0.0)
    assert sorted(times, reverse=True) == times
    with pytest.raises(ValueError, match=r"late_begin: .* below 0.3"):
        TwoPaceTimes(late_begin=0.3)
