"""BSQ against the formula of its paper, over all codes where there are few.

Letters: C vector width = bits, T vectors, V = 2^C codes.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from arlab.tokenizers.quantizers.bsq import BSQ


def bound(width: int, **options: float) -> BSQ:
    codebook = BSQ(**options)
    codebook.bind(width, (2, 3))
    return codebook


def entropy(p: torch.Tensor) -> torch.Tensor:
    return -(p * p.log()).sum(-1)


@pytest.mark.parametrize("width", [1, 2, 7])
def test_every_index_comes_back_as_a_unit_vector(width: int) -> None:
    codebook = bound(width)
    ids_T = torch.arange(codebook.codebook_size)
    code_TC = codebook.lookup(ids_T)
    assert torch.equal(codebook.quantise(3 * code_TC).ids, ids_T)
    torch.testing.assert_close(code_TC.norm(dim=-1), torch.ones(len(ids_T)))


def test_the_nearest_corner_is_chosen_whatever_the_length() -> None:
    codebook = bound(5)
    z_TC = torch.randn(40, 5)
    code_VC = codebook.lookup(torch.arange(32))
    ids_T = torch.cdist(F.normalize(z_TC, dim=-1), code_VC).argmin(-1)
    for length in (0.01, 1.0, 100.0):
        assert torch.equal(codebook.quantise(length * z_TC).ids, ids_T)


def test_the_loss_by_hand() -> None:
    """The entropy of single latents is that of the softmax over all codes; that of the batch is of single bits."""
    options = {"inverse_temperature": 3.0, "entropy_weight": 0.2, "diversity": 1.5, "commitment_weight": 0.25}
    codebook = bound(4, **options)
    z_TC = torch.randn(30, 4) + 0.3
    unit_TC = z_TC / z_TC.norm(dim=-1, keepdim=True)
    code_VC = codebook.lookup(torch.arange(16))
    p_TV = (3.0 * unit_TC @ code_VC.T).softmax(-1)
    q_C = ((p_TV[..., None] * (code_VC > 0)).sum(1)).mean(0)
    sample, batch = entropy(p_TV).mean(), entropy(torch.stack([q_C, 1 - q_C], -1)).sum()
    coded = codebook.quantise(z_TC)
    torch.testing.assert_close(coded.figures["sample_entropy"], sample)
    torch.testing.assert_close(coded.figures["batch_entropy"], batch)
    assert batch >= entropy(p_TV.mean(0)) - 1e-6  # the bound
    torch.testing.assert_close(coded.regularizer, 0.2 * (sample - 1.5 * batch))
    apart = (unit_TC - coded.code).square().sum(-1).mean()
    torch.testing.assert_close(coded.loss, coded.regularizer + 0.25 * apart)
    assert apart < 2 - 2 / math.sqrt(4)  # as the paper proves: codes are never far


def test_the_gradient_passes_straight_to_the_direction() -> None:
    codebook = bound(5)
    z_TC = torch.randn(9, 5, requires_grad=True)
    upstream_TC = torch.randn(9, 5)
    (given_TC,) = torch.autograd.grad((codebook.quantise(z_TC).vectors * upstream_TC).sum(), z_TC)
    (expected_TC,) = torch.autograd.grad((F.normalize(z_TC, dim=-1) * upstream_TC).sum(), z_TC)
    torch.testing.assert_close(given_TC, expected_TC)


def test_sixty_two_bits_without_a_table() -> None:
    codebook = bound(62, commitment_weight=0.25)
    assert codebook.codebook_size == 2**62
    z = torch.randn(2, 62, 2, 3, requires_grad=True)
    quantized = codebook(z)
    quantized.loss.backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    torch.testing.assert_close(codebook.assemble(codebook.vectors(quantized.tokens)), quantized.vectors)
    assert sum(value.numel() for value in codebook.buffers()) == 1


def test_the_entropy_loss_frees_a_bit_that_is_stuck() -> None:
    codebook = bound(4, entropy_weight=1.0)
    z_TC = (torch.randn(256, 4) * 0.3 + torch.tensor([1.0, 0.0, 0.0, 0.0])).requires_grad_()
    optimizer = torch.optim.SGD([z_TC], lr=100.0)
    before = (z_TC[:, 0] > 0).float().mean()
    for _ in range(200):
        optimizer.zero_grad()
        codebook.quantise(z_TC).loss.backward()
        optimizer.step()
    assert before > 0.98
    assert 0.3 < (z_TC[:, 0] > 0).float().mean() < 0.7
