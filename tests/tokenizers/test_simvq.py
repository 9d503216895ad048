"""SimVQ against its formula and against vector-quantize-pytorch.

Letters: C vector width, V codebook size, T vectors.
"""

from __future__ import annotations

import pytest
import torch
import vector_quantize_pytorch
from torch.nn import functional as F

from arlab.tokenizers.quantizers.passage import RotationTrick
from arlab.tokenizers.quantizers.simvq import SimVQ


def bound(*, rotation: bool = False) -> SimVQ:
    codebook = SimVQ(codebook_size=32, passage=RotationTrick() if rotation else None)
    codebook.bind(5, (3, 7))
    return codebook


def test_every_code_moves_with_every_batch() -> None:
    codebook = bound()
    before_VC = codebook.lookup(torch.arange(32)).detach()
    torch.testing.assert_close(before_VC, codebook.basis @ codebook.transform.detach())
    basis_VC = codebook.basis.clone()
    (gradient_CC,) = torch.autograd.grad(codebook(torch.randn(1, 5, 1, 1)).loss, codebook.transform)
    codebook.transform.data -= gradient_CC
    assert ((codebook.lookup(torch.arange(32)) - before_VC).abs().sum(-1) > 0).all()
    assert torch.equal(codebook.basis, basis_VC)


def test_its_vectors_have_the_published_scale() -> None:
    codebook = SimVQ(codebook_size=4096)
    codebook.bind(16, (2, 2))
    assert float(codebook.basis.std()) == pytest.approx(0.25, rel=0.02)
    assert set(dict(codebook.named_parameters())) == {"transform"}


@pytest.mark.parametrize("rotation", [False, True])
def test_it_computes_what_the_library_computes(rotation: bool) -> None:
    ours = bound(rotation=rotation)
    theirs = vector_quantize_pytorch.SimVQ(dim=5, codebook_size=32, rotation_trick=rotation)
    theirs.frozen_codebook.copy_(ours.basis)
    theirs.code_transform.weight.data.copy_(ours.transform.data.T)
    z_TC = torch.randn(21, 5, requires_grad=True)
    coded = ours.quantise(z_TC)
    vectors_1TC, ids_1T, loss = theirs(z_TC[None])
    assert torch.equal(coded.ids, ids_1T[0])
    torch.testing.assert_close(coded.vectors, vectors_1TC[0])
    torch.testing.assert_close(coded.loss, loss)
    for mine, other in ((coded.loss, loss), (coded.vectors.square().sum(), vectors_1TC.square().sum())):
        (to_z,) = torch.autograd.grad(mine, z_TC, retain_graph=True)
        (expected,) = torch.autograd.grad(other, z_TC, retain_graph=True)
        torch.testing.assert_close(to_z, expected)
    (to_codes,) = torch.autograd.grad(coded.loss, ours.transform)
    torch.testing.assert_close(to_codes, torch.autograd.grad(loss, theirs.code_transform.weight)[0].T)


def test_its_loss_by_hand() -> None:
    codebook = bound()
    z_TC = torch.randn(21, 5)
    code_VC = (codebook.basis @ codebook.transform).detach()
    nearest_TC = code_VC[torch.cdist(z_TC, code_VC).argmin(-1)]
    torch.testing.assert_close(codebook.quantise(z_TC).loss.detach(), 1.25 * F.mse_loss(z_TC, nearest_TC))
