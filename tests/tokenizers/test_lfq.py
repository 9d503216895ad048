"""LFQ against the formula of its paper, over all codes, and against vector-quantize-pytorch in one process.

Letters: C vector width = bits, T vectors, V = 2^C codes.
"""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
import vector_quantize_pytorch

from arlab.tokenizers.quantizers.bits import mean_joint, to_bits, to_ids
from arlab.tokenizers.quantizers.lfq import LFQ


def bound(width: int, **options: float) -> LFQ:
    codebook = LFQ(**options)
    codebook.bind(width, (2, 3))
    return codebook


def test_bit_i_of_an_index_is_the_sign_of_channel_i() -> None:
    codebook = bound(3)
    assert codebook.codebook_size == 8
    assert codebook.quantise(torch.tensor([[0.3, -1.0, 2.0], [0.0, 5.0, -0.1]])).ids.tolist() == [1 + 4, 2]
    assert codebook.lookup(torch.tensor([[5]])).tolist() == [[[1.0, -1.0, 1.0]]]


@pytest.mark.parametrize("width", [1, 2, 7])
def test_every_index_comes_back(width: int) -> None:
    codebook = bound(width)
    ids_T = torch.arange(codebook.codebook_size)
    assert torch.equal(codebook.quantise(codebook.lookup(ids_T)).ids, ids_T)
    assert len(codebook.lookup(ids_T).unique(dim=0)) == len(ids_T)


def test_sixty_two_bits() -> None:
    bits_TC = torch.rand(9, 62) > 0.5
    bits_TC[0], bits_TC[1] = True, False
    ids_T = to_ids(bits_TC)
    assert ids_T.tolist()[:2] == [2**62 - 1, 0]
    assert ids_T.tolist() == [sum(2**i for i, bit in enumerate(row) if bit) for row in bits_TC.tolist()]
    assert torch.equal(to_bits(ids_T, 62), bits_TC)


def test_the_mean_over_codes_is_that_of_the_whole_table() -> None:
    for width in (1, 2, 5):
        p_TC = torch.rand(6, width)
        expected = [
            sum(math.prod(p if bit else 1 - p for p, bit in zip(row, bits[::-1], strict=True)) for row in p_TC.tolist())
            for bits in product((0, 1), repeat=width)  # the last varies fastest, so it is bit 0
        ]
        torch.testing.assert_close(mean_joint(p_TC), torch.tensor(expected) / 6)


def test_loss_and_entropies_over_all_codes_by_hand() -> None:
    codebook = bound(3, inverse_temperature=0.3, entropy_weight=0.2, diversity=1.5, commitment_weight=0.25)
    z_TC = torch.randn(40, 3)
    code_VC = codebook.lookup(torch.arange(8))
    p_TV = (-0.3 * torch.cdist(z_TC, code_VC).square()).softmax(-1)
    sample = -(p_TV * p_TV.log()).sum(-1).mean()
    batch = -(p_TV.mean(0) * p_TV.mean(0).log()).sum()
    coded = codebook.quantise(z_TC)
    torch.testing.assert_close(coded.figures["sample_entropy"], sample)
    torch.testing.assert_close(coded.figures["batch_entropy"], batch)
    torch.testing.assert_close(coded.regularizer, 0.2 * (sample - 1.5 * batch))
    nearest_TC = code_VC[torch.cdist(z_TC, code_VC).argmin(-1)]
    torch.testing.assert_close(coded.loss, coded.regularizer + 0.25 * (z_TC - nearest_TC).square().mean())
    assert torch.equal(coded.code, nearest_TC)


def test_it_computes_what_the_library_computes_alone() -> None:
    z_TC = (0.05 * torch.randn(50, 5)).requires_grad_()
    # The library's temperature counts without the constant of the distance, ours with its factor of 2 for both.
    coded = bound(5, inverse_temperature=10.0, entropy_weight=0.1, commitment_weight=0.25).quantise(z_TC)
    theirs = vector_quantize_pytorch.LFQ(dim=5, entropy_loss_weight=0.1, commitment_loss_weight=0.25)
    returned, parts = theirs(z_TC[None], inv_temperature=10.0, return_loss_breakdown=True)
    torch.testing.assert_close(coded.vectors, returned.quantized[0])
    torch.testing.assert_close(coded.figures["batch_entropy"], parts.batch_entropy, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(coded.loss, returned.entropy_aux_loss, atol=1e-4, rtol=1e-4)
    (gradient_TC,) = torch.autograd.grad(coded.loss, z_TC)
    (expected_TC,) = torch.autograd.grad(returned.entropy_aux_loss, z_TC)
    torch.testing.assert_close(gradient_TC, expected_TC, atol=1e-4, rtol=1e-2)
    # Its first channel is the highest bit.
    assert torch.equal(to_bits(returned.indices[0], 5).flip(-1), to_bits(coded.ids, 5))


def test_eighteen_bits_still_learn_to_spread() -> None:
    """All probabilities are far below 1e-5, and the gradient of the diversity is there."""
    codebook = bound(18, inverse_temperature=0.1, commitment_weight=0.0)
    z_TC = (torch.randn(64, 18) + 0.5).requires_grad_()
    (gradient_TC,) = torch.autograd.grad(codebook.quantise(z_TC).loss, z_TC)
    before = z_TC.detach().mean(0).abs().mean()
    after = (z_TC - 1e4 * gradient_TC).detach().mean(0).abs().mean()
    assert gradient_TC.abs().sum() > 0
    assert after < before
