"""How gradients pass a codebook: straight through, or turned.

Letters: C vector width, T vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.tokenizers.quantizers.passage import GradientPassage, RotationTrick, StraightThrough
from arlab.tokenizers.quantizers.vq import VectorQuantizer


def given(passage: GradientPassage, z_TC: Tensor, code_TC: Tensor, upstream_TC: Tensor) -> tuple[Tensor, Tensor]:
    """What the decoder gets and what the latents get."""
    z_TC = z_TC.clone().requires_grad_()
    out_TC = passage(z_TC, code_TC)
    (gradient_TC,) = torch.autograd.grad((out_TC * upstream_TC).sum(), z_TC)
    return out_TC.detach(), gradient_TC


def vectors(seed: int) -> Tensor:
    return torch.randn(7, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_straight_through() -> None:
    z_TC, code_TC, upstream_TC = vectors(0), vectors(1), vectors(2)
    out_TC, gradient_TC = given(StraightThrough(), z_TC, code_TC, upstream_TC)
    torch.testing.assert_close(out_TC, code_TC)
    assert torch.equal(gradient_TC, upstream_TC)


def test_the_rotation_trick_turns_the_gradient_back() -> None:
    """Angles and lengths by hand: the plane of z and e turns by their angle, everything across it stays."""
    z_TC, code_TC, upstream_TC = vectors(0), vectors(1), vectors(2)
    out_TC, gradient_TC = given(RotationTrick(), z_TC, code_TC, upstream_TC)
    torch.testing.assert_close(out_TC, code_TC)
    scale_T = code_TC.norm(dim=-1) / z_TC.norm(dim=-1)
    torch.testing.assert_close(gradient_TC.norm(dim=-1), scale_T * upstream_TC.norm(dim=-1))
    for z, code, upstream, gradient, scale in zip(z_TC, code_TC, upstream_TC, gradient_TC, scale_T, strict=True):
        a = z / z.norm()
        b = code - (code @ a) * a
        b = b / b.norm()
        cos, sin = code @ a / code.norm(), code @ b / code.norm()
        along, across = upstream @ a, upstream @ b
        # Turned by minus the angle in the plane of a and b.
        turned = upstream + (cos * along + sin * across - along) * a + (cos * across - sin * along - across) * b
        torch.testing.assert_close(gradient, scale * turned)


def test_the_angle_of_gradient_and_code_is_that_of_gradient_and_latent() -> None:
    z_TC, code_TC = vectors(0), vectors(1)
    _, gradient_TC = given(RotationTrick(), z_TC, code_TC, code_TC)
    cosine_T = torch.cosine_similarity(gradient_TC, z_TC)
    torch.testing.assert_close(cosine_T, torch.ones_like(cosine_T))


def test_rotation_has_its_limits() -> None:
    """No direction to turn from, and the code exactly behind."""
    z_TC = torch.tensor([[0.0, 0.0], [1e-9, 0.0], [-1.0, -2.0]])
    code_TC = torch.tensor([[3.0, 4.0], [0.0, 1.0], [2.0, 4.0]])
    out_TC, gradient_TC = given(RotationTrick(), z_TC, code_TC, torch.ones(3, 2))
    torch.testing.assert_close(out_TC, code_TC)
    torch.testing.assert_close(gradient_TC[:2], torch.ones(2, 2))
    torch.testing.assert_close(gradient_TC[2].norm(), torch.tensor(2.0 * 2**0.5))


def test_the_quantizer_passes_by_what_it_is_given() -> None:
    z = torch.randn(2, 5, 3, 2)
    gradients = []
    for passage in (None, StraightThrough(), RotationTrick()):
        quantizer = VectorQuantizer(codebook_size=8, passage=passage)
        quantizer.bind(5, (3, 2))
        z = z.detach().requires_grad_()
        gradients += torch.autograd.grad(quantizer.eval()(z).vectors.square().sum(), z)
    assert torch.equal(gradients[0], gradients[1])
    assert (gradients[0] - gradients[2]).abs().max() > 0.1
