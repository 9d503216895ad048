from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from arlab.heads.coarse_to_fine import CoarseToFineHead, clustered
from arlab.heads.head import Hidden, Predicted, Sampling
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_scale import NextScale
from arlab.orderings.ordering import Drawn, Ordering, Prefix, condition_slots
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Read, Step
from arlab.rng import BatchRng, Noise
from arlab.tokens import TokenSpace
from tests.heads.generators import head_generator
from tests.tiny import GrayLevels

READ = Read.own(torch.tensor([0, 1]), torch.tensor([0, 1]))
STEP = Step(condition_slots(Prefix(2)), READ)
PLAIN = Sampling()
TOKENS = frozenset({Kind.COND, Kind.TOKEN})
UNEVEN = torch.tensor([0, 2, 1, 0, 2, 0, 0, 2])


def bound(groups: Tensor = UNEVEN, *, zero_init: bool = False, init_std: float = 1.0) -> CoarseToFineHead:
    head = CoarseToFineHead(num_groups=int(groups.max()) + 1, fine_width=6, zero_init=zero_init, init_std=init_std)
    head.bind(4, TokenSpace(2, len(groups)), 1, carries=TOKENS)
    head.group_V.copy_(groups)
    return head


def predicted(h_BMD: Tensor, free_BMD: Tensor | None = None) -> Predicted:
    layout = Layout(((1, 2),))
    free = None if free_BMD is None else Hidden((free_BMD,), READ, layout)
    return Predicted(Hidden((h_BMD,), READ, layout), free)


def drawn(head: CoarseToFineHead, h_BMD: Tensor, sampling: Sampling = PLAIN, *, scale: float = 1.0) -> Drawn:
    said = predicted(h_BMD, None if scale == 1 else torch.ones_like(h_BMD))
    return head.draw(lambda: said, STEP, scale, sampling, Noise(range(len(h_BMD)), 2))


def all_log_probs(head: CoarseToFineHead, h_1MD: Tensor, *, scale: float = 1.0, temperature: float = 1.0) -> Tensor:
    """Of every code at both tokens, (V, 2), group by group."""
    said = predicted(h_1MD, None if scale == 1 else torch.ones_like(h_1MD))
    coarse = (head.coarse_logits(said, scale)[0] / temperature).log_softmax(-1)
    rows = []
    for code, group in enumerate(head.group_V.tolist()):
        same = (head.group_V == group).nonzero()[:, 0]
        fine = head.fine_logits(said, torch.full((1, 2), group), scale)[0][:, same] / temperature
        rows.append(coarse[:, group] + fine.log_softmax(-1)[:, same.tolist().index(code)])
    return torch.stack(rows).detach()


def test_probabilities_sum_to_one_over_codes_and_over_groups() -> None:
    head, h = bound().double(), torch.randn(1, 2, 4, dtype=torch.float64)
    codes = torch.arange(8)[:, None].expand(-1, 2)
    said = predicted(h.expand(8, -1, -1))
    log_prob = head.log_prob(lambda: said, STEP, codes)
    assert log_prob is not None
    torch.testing.assert_close(log_prob, all_log_probs(head, h))
    torch.testing.assert_close(log_prob.exp().sum(0), torch.ones(2, dtype=torch.float64))
    of_group = torch.zeros(3, 2, dtype=torch.float64).index_add(0, UNEVEN, log_prob.exp())
    torch.testing.assert_close(of_group, head.coarse_logits(predicted(h)).softmax(-1)[0].T)
    torch.testing.assert_close(head.loss(lambda: said, STEP, codes, BatchRng(0, 8)), -log_prob)


def test_the_second_softmax_is_told_the_group() -> None:
    """Its logits depend on the group beyond which codes they are of."""
    head, said = bound(), predicted(torch.randn(1, 2, 4))
    fine = head.fine[0](said.conditional.ways[0], torch.tensor([[0, 0]]))
    assert not torch.allclose(fine, head.fine[0](said.conditional.ways[0], torch.tensor([[1, 1]])))
    of_group = head.fine_logits(said, torch.tensor([[0, 1]]))
    assert torch.equal(of_group[0].isfinite(), torch.stack((UNEVEN == 0, UNEVEN == 1)))


def test_as_many_groups_as_codes_leave_nothing_to_the_second() -> None:
    head, h = bound(torch.arange(5)), torch.randn(3, 2, 4)
    said, target = predicted(h), torch.randint(5, (3, 2))
    log_prob = head.log_prob(lambda: said, STEP, target)
    torch.testing.assert_close(log_prob, head.coarse[0](h).log_softmax(-1).gather(-1, target[..., None])[..., 0])


def test_starts_uniform_in_groups_and_over_them() -> None:
    head = bound(zero_init=True)
    codes = torch.arange(8).reshape(4, 2)
    said = predicted(torch.randn(4, 2, 4))
    loss = head.loss(lambda: said, STEP, codes, BatchRng(0, 4))
    torch.testing.assert_close(loss, (3 * UNEVEN.bincount()[UNEVEN[codes]]).float().log())


def test_gradients_reach_every_weight() -> None:
    head, h = bound(init_std=0.5), torch.randn(8, 2, 4, requires_grad=True)
    said = predicted(h)
    head.loss(lambda: said, STEP, torch.arange(16).reshape(8, 2) % 8, BatchRng(0, 8)).sum().backward()
    assert h.grad is not None
    assert bool(h.grad.any(-1).all())
    untouched = [n for n, p in head.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert untouched == ["embedding.weight"]
    assert all(bool(p.grad.isfinite().all()) for p in head.parameters() if p.grad is not None)


# ---- drawing


@pytest.mark.parametrize(("sampling", "scale"), [(Sampling(), 1.0), (Sampling(0.6), 1.0), (Sampling(1.2), 2.0)])
def test_codes_are_drawn_as_often_as_is_said(sampling: Sampling, scale: float) -> None:
    head, number = bound(init_std=0.6), 20_000
    h = torch.randn(1, 2, 4)
    what = drawn(head, h.expand(number, -1, -1), sampling, scale=scale)
    log_prob = all_log_probs(head, h, scale=scale, temperature=sampling.temperature)
    for token in (0, 1):
        frequency = what.tokens[:, token].bincount(minlength=8) / number
        expected = log_prob[:, token].exp()
        assert ((frequency - expected).abs() <= 5 * (expected * (1 - expected) / number).sqrt()).all()
        torch.testing.assert_close(what.log_prob[:, token], log_prob[what.tokens[:, token], token])


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_greedy_takes_the_most_likely_code_of_all(scale: float) -> None:
    """Which is not always one of the most likely group."""
    head, h = bound(init_std=0.7), torch.randn(200, 2, 4)
    what = drawn(head, h, Sampling(0.0), scale=scale)
    log_prob = torch.stack([all_log_probs(head, each[None], scale=scale) for each in h])
    most, best = log_prob.max(1)
    assert torch.equal(what.tokens, best)
    torch.testing.assert_close(what.log_prob, most)
    said = predicted(h, None if scale == 1 else torch.ones_like(h))
    likeliest_group = head.coarse_logits(said, scale).argmax(-1)
    other = head.group_V[what.tokens] != likeliest_group
    assert 0 < int(other.sum()) < other.numel()


def test_top_k_of_one_takes_the_likeliest_of_both_draws() -> None:
    head, h = bound(), torch.randn(50, 2, 4)
    said = predicted(h)
    group = head.coarse_logits(said).argmax(-1)
    what = drawn(head, h, Sampling(1.0, 1))
    assert torch.equal(what.tokens, head.fine_logits(said, group).argmax(-1))
    # A slice larger than a group draws codes of the group nevertheless.
    many = drawn(head, h, Sampling(1.0, 6, 0.9))
    assert bool(many.log_prob.isfinite().all())


def test_the_logit_is_the_sum_of_both() -> None:
    head, h = bound(), torch.randn(20, 2, 4)
    said = predicted(h)
    for sampling in (Sampling(0.5), Sampling(0.0)):
        what = drawn(head, h, sampling)
        group = head.group_V[what.tokens]
        coarse = head.coarse_logits(said).gather(-1, group[..., None])[..., 0]
        fine = head.fine_logits(said, group).gather(-1, what.tokens[..., None])[..., 0]
        torch.testing.assert_close(what.logit, coarse + fine)


def test_guidance_formula() -> None:
    head, group = bound(), torch.tensor([[0, 2], [2, 0]])
    c, u = torch.randn(2, 2, 4), torch.randn(2, 2, 4)
    kept = head.group_V == group[..., None]
    for scale in (0.0, 1.0, 2.5):
        of_c, of_u = head.coarse[0](c), head.coarse[0](u)
        torch.testing.assert_close(head.coarse_logits(predicted(c, u), scale), of_u + scale * (of_c - of_u))
        of_c, of_u = head.fine[0](c, group), head.fine[0](u, group)
        fine = head.fine_logits(predicted(c, u), group, scale)
        torch.testing.assert_close(fine[kept], (of_u + scale * (of_c - of_u))[kept])
        assert bool((fine[~kept] == -torch.inf).all())


# ---- groups


def test_similar_codes_are_grouped() -> None:
    centre = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    which = torch.tensor([0, 1, 2, 2, 1, 0, 0, 1, 1, 1])
    vectors = centre[which] + 0.1 * torch.randn(10, 2)
    group = clustered(vectors, 3, 0)
    assert torch.equal(group[:, None] == group, which[:, None] == which)
    assert torch.equal(clustered(vectors, 3, 0), group)


@pytest.mark.parametrize("vectors", [torch.zeros(9, 2), torch.arange(3.0).repeat(3)[:, None]], ids=["one", "three"])
@pytest.mark.parametrize("groups", [2, 5, 9])
def test_no_group_is_empty(vectors: Tensor, groups: int) -> None:
    group = clustered(vectors, groups, 0)
    assert bool((group.bincount(minlength=groups) > 0).all())
    assert len(group.unique()) == groups


class Codes(GrayLevels):
    """Gray levels in an order of their own."""

    def __init__(self, *values: float) -> None:
        super().__init__(grid=(2, 2), codebook_size=len(values))
        with torch.no_grad():
            self.values_V1.copy_(torch.tensor(values)[:, None])


def test_a_generator_shows_its_codebook_and_a_checkpoint_brings_the_groups() -> None:
    one, other = (
        head_generator(CoarseToFineHead(num_groups=2), Raster(), tokenizer=Codes(*values))
        for values in ((-1.0, 1.0, 0.9, -0.9), (-1.0, -0.9, 0.9, 1.0))
    )
    groups = [generator.head.group_V.tolist() for generator in (one, other)]
    for (a, b, c, d), same in zip(groups, ("ad bc", "ab cd"), strict=True):
        named = dict(zip("abcd", (a, b, c, d), strict=True))
        assert all(named[pair[0]] == named[pair[1]] for pair in same.split())
    other.load_state_dict(one.state_dict())
    assert other.head.group_V.tolist() == groups[0]
    assert other.head.group_V.dtype == torch.long


class TwoCodebooks(GrayLevels):
    """Two levels, each of which means something else by a code."""

    def __init__(self) -> None:
        super().__init__(grid=(2, 2), codebook_size=4)
        self.layout = Layout(((1, 1), (2, 2)))

    def vectors(self, tokens: Tensor) -> Tensor:
        return super().vectors(tokens) * (1 + self.layout.level_N[:, None])

    def canvas(self, tokens: Tensor, level: int) -> Tensor:
        return torch.zeros(len(tokens), 1, 2, 2)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="the levels of this tokenizer have one each; choose share_codebook"):
        head_generator(CoarseToFineHead(), NextScale(), tokenizer=TwoCodebooks())
    for option in ({"num_groups": 1}, {"fine_width": 0}, {"seed": -1}, {"init_std": math.inf}):
        with pytest.raises(ValueError, match=f"head.{next(iter(option))}: must be"):
            CoarseToFineHead(**option)
    for size, other in ((3, "DiscreteHead"), (2**40, "BitwiseHead")):
        with pytest.raises(ValueError, match=f"4 to 262144 codes, this tokenizer has {size}; choose {other}"):
            CoarseToFineHead().bind(4, TokenSpace(2, size), 1, carries=TOKENS)
    with pytest.raises(ValueError, match="num_groups: must be at most the 8 codes of this tokenizer, got 9"):
        CoarseToFineHead(num_groups=9).bind(4, TokenSpace(2, 8), 1, carries=TOKENS)
    with pytest.raises(ValueError, match="CoarseToFineHead needs a tokenizer with a codebook"):
        CoarseToFineHead().bind(4, TokenSpace(2), 1, carries=TOKENS)
    with pytest.raises(ValueError, match="CoarseToFineHead draws codes, which cannot be noised"):
        CoarseToFineHead().bind(4, TokenSpace(2, 4), 1, carries=TOKENS | {Kind.NOISY})


@pytest.mark.parametrize(("size", "groups"), [(4, 2), (5, 3), (9, 3), (512, 23), (16384, 128)])
def test_by_default_there_are_about_as_many_groups_as_codes_in_one(size: int, groups: int) -> None:
    with torch.device("meta"):
        head = CoarseToFineHead()
        head.bind(4, TokenSpace(2, size), 1, carries=TOKENS)
        head.see_codebook(lambda code: torch.zeros(len(code), 1, 2))
    assert head.coarse[0].out_features == groups


@pytest.mark.parametrize("ordering", [Raster(), NextNeighbor()], ids=lambda o: type(o).__name__)
def test_probabilities_of_all_images_sum_to_one(ordering: Ordering) -> None:
    generator = head_generator(CoarseToFineHead(zero_init=False, init_std=0.5), ordering, grid=(2, 2))
    images = torch.tensor(list(itertools.product(range(4), repeat=4)))
    log_prob = generator.double().log_prob(images, torch.ones(256, dtype=torch.long))
    assert log_prob is not None
    likelihood = log_prob.double().sum(-1).exp()
    assert float(likelihood.sum()) == pytest.approx(1, abs=1e-5)
    assert float(likelihood.max() / likelihood.min()) > 5
