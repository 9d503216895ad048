from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.heads.bitwise import BitwiseHead
from arlab.heads.head import Hidden, Predicted, Sampling
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.ordering import Drawn, Ordering, Prefix, condition_slots
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Read, Step
from arlab.rng import BatchRng, Noise
from arlab.tokenizers.quantizers.bits import signs, to_bits
from arlab.tokens import TokenSpace
from tests.heads.generators import head_generator

READ = Read.own(torch.tensor([0, 1]), torch.tensor([0, 1]))
STEP = Step(condition_slots(Prefix(2)), READ)
PLAIN = Sampling()
TOKENS = frozenset({Kind.COND, Kind.TOKEN})


def bound(num_bits: int, ways: int = 1, *, zero_init: bool = False, init_std: float = 1.0) -> BitwiseHead:
    head = BitwiseHead(zero_init=zero_init, init_std=init_std)
    head.bind(4, TokenSpace(num_bits, 2**num_bits), ways, carries=TOKENS)
    return head


def predicted(h_BMD: Tensor, free_BMD: Tensor | None = None) -> Predicted:
    layout = Layout(((1, 2),))
    free = None if free_BMD is None else Hidden((free_BMD,), READ, layout)
    return Predicted(Hidden((h_BMD,), READ, layout), free)


def drawn(head: BitwiseHead, h_BMD: Tensor, sampling: Sampling = PLAIN, *, scale: float = 1.0) -> Drawn:
    said = predicted(h_BMD, torch.zeros_like(h_BMD) if scale != 1 else None)
    return head.draw(lambda: said, STEP, scale, sampling, Noise(range(len(h_BMD)), 2))


def all_log_probs(head: BitwiseHead, h_1MD: Tensor) -> Tensor:
    """Of every code at both tokens, (V, 2)."""
    codes = torch.arange(2**head.num_bits)[:, None].expand(-1, 2)
    said = predicted(h_1MD.expand(len(codes), -1, -1))
    log_prob = head.log_prob(lambda: said, STEP, codes)
    assert log_prob is not None
    return log_prob


def test_probabilities_sum_to_one_and_are_products_of_bits() -> None:
    head, h = bound(4).double(), torch.randn(1, 2, 4, dtype=torch.float64)
    log_prob = all_log_probs(head, h)
    torch.testing.assert_close(log_prob.exp().sum(0), torch.ones(2, dtype=torch.float64))
    p_2d = head.outputs[0](h)[0].sigmoid()
    for code, bits in enumerate(itertools.product((0, 1), repeat=4)):
        # The last of them varies fastest, the lowest bit comes first.
        bit_d = torch.tensor(bits[::-1])
        expected = p_2d.where(bit_d == 1, 1 - p_2d).prod(-1)
        torch.testing.assert_close(log_prob[code].exp(), expected)


def test_the_loss_is_the_sum_of_bits_in_nats() -> None:
    head, h = bound(5), torch.randn(3, 2, 4)
    target = torch.randint(32, (3, 2))
    said = predicted(h)
    loss = head.loss(lambda: said, STEP, target, BatchRng(0, 3))
    bits = to_bits(target, 5).float()
    expected = F.binary_cross_entropy_with_logits(head.outputs[0](h), bits, reduction="none").sum(-1)
    torch.testing.assert_close(loss, expected)
    log_prob = head.log_prob(lambda: said, STEP, target)
    torch.testing.assert_close(log_prob, -loss)


def test_two_logits_a_bit_are_the_same() -> None:
    """Infinity's head: a softmax over two logits for each bit."""
    head, h, target = bound(3), torch.randn(2, 2, 4), torch.randint(8, (2, 2))
    said = predicted(h)
    both = torch.randn(3, 2, 4)
    with torch.no_grad():
        head.outputs[0].weight.copy_(both[:, 1] - both[:, 0])
        head.outputs[0].bias.zero_()
    logits = torch.einsum("bmd,ikd->bmik", h, both)
    nats = F.cross_entropy(logits.flatten(0, 2), to_bits(target, 3).long().flatten(), reduction="none")
    torch.testing.assert_close(head.loss(lambda: said, STEP, target, BatchRng(0, 2)), nats.view(2, 2, 3).sum(-1))


@pytest.mark.parametrize("num_bits", [1, 3, 40, 62])
def test_bits_lie_as_the_quantizers_lay_them(num_bits: int) -> None:
    head = bound(num_bits)
    tokens = torch.randint(2**num_bits, (2, 5))
    assert torch.equal(head.signs(tokens), signs(to_bits(tokens, num_bits), torch.int64))
    assert head.embedding is not None
    expected = signs(to_bits(tokens, num_bits), torch.float32) @ head.embedding.weight.T + head.embedding.bias
    torch.testing.assert_close(head.embed(tokens), expected)


@pytest.mark.parametrize("num_bits", [40, 62])
def test_no_table_is_needed(num_bits: int) -> None:
    head, h = bound(num_bits), torch.randn(64, 2, 4, requires_grad=True)
    assert sum(p.numel() for p in head.parameters()) < 1000
    what = drawn(head, h.detach())
    assert int(what.tokens.min()) >= 0
    assert int(what.tokens.max()) < 2**num_bits
    # The highest bit is drawn, too, and what is told is the probability of what was drawn.
    assert 0 < float((what.tokens >> (num_bits - 1)).float().mean()) < 1
    said = predicted(h)
    log_prob = head.log_prob(lambda: said, STEP, what.tokens)
    torch.testing.assert_close(what.log_prob, log_prob.detach())
    head.loss(lambda: said, STEP, what.tokens, BatchRng(0, 64)).sum().backward()
    assert h.grad is not None
    assert bool(h.grad.any())
    assert all(bool(p.grad.any()) for p in head.outputs.parameters())


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.5), Sampling(1.3, 2)], ids=str)
def test_codes_are_drawn_as_often_as_is_said(sampling: Sampling) -> None:
    head, number = bound(3, init_std=0.5), 20_000
    h = torch.randn(1, 2, 4)
    what = drawn(head, h.expand(number, -1, -1), sampling)
    tempered = (head.logits(predicted(h)) / sampling.temperature).detach()
    with torch.no_grad():
        head.outputs[0].weight.div_(sampling.temperature)
        head.outputs[0].bias.div_(sampling.temperature)
    log_prob = all_log_probs(head, h).detach()
    torch.testing.assert_close(tempered, head.logits(predicted(h)).detach())
    for token in (0, 1):
        frequency = what.tokens[:, token].bincount(minlength=8) / number
        expected = log_prob[:, token].exp()
        assert ((frequency - expected).abs() <= 5 * (expected * (1 - expected) / number).sqrt()).all()
        torch.testing.assert_close(what.log_prob[:, token], log_prob[what.tokens[:, token], token])


def test_the_logit_of_a_code_is_normalised_by_a_softmax_over_codes() -> None:
    head, h = bound(3), torch.randn(1, 2, 4)
    what = drawn(head, h.expand(500, -1, -1))
    for token in (0, 1):
        of_code = dict(zip(what.tokens[:, token].tolist(), what.logit[:, token].tolist(), strict=True))
        half = head.outputs[0](h)[0, token].detach() / 2
        logits = torch.stack([(half * head.signs(torch.tensor(code))).sum() for code in range(8)])
        assert all(logits[code].item() == pytest.approx(logit, abs=1e-5) for code, logit in of_code.items())
        torch.testing.assert_close(logits.log_softmax(0), all_log_probs(head, h)[:, token].detach())


def test_greedy_and_cuts() -> None:
    head, h = bound(4), torch.randn(50, 2, 4)
    greedy = drawn(head, h, Sampling(0.0)).tokens
    most = torch.stack([all_log_probs(head, each[None]).argmax(0) for each in h])
    assert torch.equal(greedy, most)
    assert torch.equal(drawn(head, h, Sampling(1.0, 1)).tokens, most)
    # Bits that are at least so likely take their likelier value, others are drawn as before.
    p = head.logits(predicted(h)).sigmoid().detach()
    sure = p.maximum(1 - p) >= 0.8
    cut, free = (to_bits(drawn(head, h, each).tokens, 4) for each in (Sampling(1.0, 0, 0.8), Sampling()))
    assert torch.equal(cut[sure], (p > 0.5)[sure])
    assert bool((cut[~sure] != (p > 0.5)[~sure]).any())
    assert bool((free[sure] != (p > 0.5)[sure]).any())


def test_guidance_formula() -> None:
    head = bound(3)
    c, u = torch.randn(2, 2, 4), torch.randn(2, 2, 4)
    of_c, of_u = head.outputs[0](c), head.outputs[0](u)
    for scale in (0.0, 1.0, 2.5):
        torch.testing.assert_close(head.logits(predicted(c, u), scale), of_u + scale * (of_c - of_u))


def test_starts_uniform() -> None:
    head = bound(7, zero_init=True)
    said = predicted(torch.randn(2, 2, 4))
    loss = head.loss(lambda: said, STEP, torch.randint(128, (2, 2)), BatchRng(0, 2))
    torch.testing.assert_close(loss, torch.full((2, 2), math.log(128)))


@pytest.mark.parametrize("ordering", [Raster(), NextNeighbor()], ids=lambda o: type(o).__name__)
def test_probabilities_of_all_images_sum_to_one(ordering: Ordering) -> None:
    generator = head_generator(BitwiseHead(zero_init=False, init_std=0.5), ordering, grid=(2, 2), codebook_size=4)
    images = torch.tensor(list(itertools.product(range(4), repeat=4)))
    log_prob = generator.double().log_prob(images, torch.ones(256, dtype=torch.long))
    assert log_prob is not None
    likelihood = log_prob.double().sum(-1).exp()
    assert float(likelihood.sum()) == pytest.approx(1, abs=1e-5)
    assert float(likelihood.max() / likelihood.min()) > 5


@pytest.mark.parametrize("size", [1, 3, 6, 1000, 2**62 + 1, 2**63])
def test_codebooks_that_are_no_rows_of_bits_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"needs a codebook of 2, 4, 8, .* this tokenizer has {size}; choose Disc"):
        BitwiseHead().bind(4, TokenSpace(2, size), 1, carries=TOKENS)


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match="BitwiseHead needs a tokenizer with a codebook"):
        BitwiseHead().bind(4, TokenSpace(2), 1, carries=TOKENS)
    with pytest.raises(ValueError, match="BitwiseHead draws codes, which cannot be noised"):
        BitwiseHead().bind(4, TokenSpace(2, 4), 1, carries=TOKENS | {Kind.NOISY})
    with pytest.raises(ValueError, match="init_std"):
        BitwiseHead(init_std=math.nan)
    head = BitwiseHead()
    head.bind(4, TokenSpace(2, 4), 1, carries=frozenset({Kind.COND, Kind.COMPUTED}))
    assert head.embedding is None
