"""The KL quantizer against torch.distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from arlab.configurable import from_spec
from arlab.tokenizers.quantizers.kl import KL
from arlab.tokenizers.quantizers.quantizer import Quantizer


def bound(quantizer: KL, shape: tuple[int, ...] = (3, 5)) -> KL:
    quantizer.bind(4, shape)
    return quantizer


def latents(shape: tuple[int, ...] = (3, 5)) -> torch.Tensor:
    return torch.randn(2, 8, *shape, generator=torch.Generator().manual_seed(0))


def test_nats_of_an_image() -> None:
    z = latents()
    mean, log_variance = z.chunk(2, dim=1)
    expected_B = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0, 1)).flatten(1).sum(1)
    quantizer = bound(KL(kl_weight=0.3))
    torch.testing.assert_close(quantizer.gaussian(z).nats(), expected_B)
    quantized = quantizer(z)
    torch.testing.assert_close(quantized.figures["kl"], expected_B.mean())
    torch.testing.assert_close(quantized.loss, 0.3 * expected_B.mean())
    standard = quantizer(torch.zeros_like(z))
    assert standard.loss == 0


@pytest.mark.parametrize("shape", [(3, 5), (7,)])
def test_tokens_are_scaled_means_row_by_row(shape: tuple[int, ...]) -> None:
    quantizer, z = bound(KL(scale=0.25), shape).eval(), latents(shape)
    quantized = quantizer(z)
    mean, log_variance = z.chunk(2, dim=1)
    assert quantizer.layout.shapes == (shape,)
    assert torch.equal(quantized.vectors, mean)
    assert torch.equal(quantized.tokens, 0.25 * mean.flatten(2).mT)
    torch.testing.assert_close(quantized.deviation, 0.25 * (log_variance / 2).exp().flatten(2).mT)
    assert torch.equal(quantizer.assemble(quantizer.vectors(quantized.tokens)), mean)


def test_training_draws_around_the_means() -> None:
    quantizer = bound(KL()).train()
    z = latents()[:1].expand(20000, -1, -1, -1)
    torch.manual_seed(0)
    first, second = quantizer(z), quantizer(z)
    assert not torch.equal(first.vectors, second.vectors)
    assert torch.equal(first.tokens, second.tokens)
    mean, log_variance = z[0].chunk(2)
    deviation = (log_variance / 2).exp()
    assert (((first.vectors.mean(0) - mean) / deviation).abs() < 0.05).all()
    assert ((first.vectors.std(0) / deviation - 1).abs() < 0.03).all()
    torch.manual_seed(0)
    assert torch.equal(quantizer(z).vectors, first.vectors)


def test_a_draw_with_given_noise() -> None:
    quantizer, z = bound(KL()), latents()
    gaussian, noise = quantizer.gaussian(z), torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(gaussian.sample(noise), gaussian.mean + gaussian.log_variance.exp().sqrt() * noise)


def test_gradients_reach_means_and_variances() -> None:
    z = latents().requires_grad_()
    bound(KL(kl_weight=0)).train()(z).vectors.square().sum().backward()
    assert z.grad is not None
    assert (z.grad != 0).all()


def test_absurd_variances_stay_finite() -> None:
    quantizer = bound(KL(kl_weight=1)).train()
    for value in (-1e4, 1e4):
        z = torch.zeros(1, 8, 3, 5)
        z[:, 4:] = value
        quantized = quantizer(z)
        assert quantized.vectors.isfinite().all()
        assert quantized.loss.isfinite()
        assert quantizer.gaussian(z).log_variance.abs().max() <= 30


def test_autocast_computes_in_float32() -> None:
    quantizer, z = bound(KL()).eval(), latents().bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        quantized = quantizer(z)
    assert quantized.loss.dtype == quantized.tokens.dtype == torch.float32
    assert torch.equal(quantized.tokens, quantizer(z.float()).tokens)


def test_it_is_continuous_and_remembers_its_options() -> None:
    quantizer = KL(kl_weight=1e-3, scale=0.2325)
    assert quantizer.codebook_size is None
    assert quantizer.encoder_width(16) == 32
    assert from_spec(quantizer.spec(), Quantizer).spec() == quantizer.spec()


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_impossible_options_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"quantizer\.kl_weight: must be at least 0, got"):
        KL(kl_weight=value)
    with pytest.raises(ValueError, match=r"quantizer\.scale: must be from 1e-06 to 1000000, got"):
        KL(scale=value)
    with pytest.raises(ValueError, match=r"quantizer\.scale: must be from 1e-06 to 1000000, got 0"):
        KL(scale=0)
