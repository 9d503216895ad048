"""The entropy loss against its formula.

Letters: T vectors, V codebook size.
"""

from __future__ import annotations

import math

import pytest
import torch

from arlab.tokenizers.quantizers.entropy import EntropyLoss, entropy
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer


def test_the_formula_by_hand() -> None:
    z_TC, code_VC = torch.randn(5, 3), torch.randn(4, 3)
    distance_TV = torch.cdist(z_TC, code_VC).square()
    loss, figures = EntropyLoss(weight=0.2, temperature=0.7, diversity=1.5)(distance_TV)
    sample, mean = 0.0, [0.0] * 4
    for row in distance_TV.tolist():
        weights = [math.exp(-d / 0.7) for d in row]
        p = [weight / sum(weights) for weight in weights]
        sample -= sum(q * math.log(q) for q in p) / 5
        mean = [m + q / 5 for m, q in zip(mean, p, strict=True)]
    batch = -sum(m * math.log(m + 1e-5) for m in mean)
    assert float(loss) == pytest.approx(0.2 * (sample - 1.5 * batch), rel=1e-5)
    assert float(figures["sample_entropy"]) == pytest.approx(sample, rel=1e-5)
    assert float(figures["batch_entropy"]) == pytest.approx(batch, rel=1e-5)


def test_a_constant_for_each_latent_does_not_matter() -> None:
    distance_TV = torch.rand(5, 4, dtype=torch.float64)
    loss, _ = EntropyLoss()(distance_TV)
    torch.testing.assert_close(EntropyLoss()(distance_TV + torch.rand(5, 1, dtype=torch.float64))[0], loss)


def test_its_extremes() -> None:
    """Sure and varied: 0 and ln V; sure and all alike: 0 and 0; unsure: ln V and ln V."""
    for distance_TV, sample, batch in (
        (1 - torch.eye(4), 0.0, math.log(4)),
        ((torch.arange(4) > 0).float().expand(4, 4), 0.0, 0.0),
        (torch.ones(4, 4), math.log(4), math.log(4)),
    ):
        figures = EntropyLoss()(distance_TV)[1]
        assert float(figures["sample_entropy"]) == pytest.approx(sample, abs=1e-4)
        assert float(figures["batch_entropy"]) == pytest.approx(batch, abs=1e-4)


def test_gradients_are_finite_where_probabilities_vanish() -> None:
    distance_TV = torch.tensor([[0.0, 1e4], [0.0, 1e4]], requires_grad=True)
    (gradient_TV,) = torch.autograd.grad(EntropyLoss()(distance_TV)[0], distance_TV)
    assert gradient_TV.isfinite().all()
    p = torch.tensor([1.0, 0.0], requires_grad=True)
    assert float(entropy(p).detach()) == 0
    assert torch.autograd.grad(entropy(p), p)[0].isfinite().all()


def test_it_spreads_the_codes() -> None:
    """Latents in one corner, codes everywhere: with the loss more codes come to them."""
    perplexities = []
    for loss in (None, EntropyLoss(weight=1.0, temperature=1.0)):
        codebook = GradientVectorQuantizer(
            codebook_size=16, entropy=loss, start_from_data=False, revive_below=0.0, commitment_weight=0.0
        )
        codebook.bind(2, (8, 8))
        optimizer = torch.optim.SGD(codebook.parameters(), lr=0.3)
        z = torch.randn(2, 2, 8, 8) + 3
        for _ in range(200):
            optimizer.zero_grad()
            codebook(z).loss.backward()
            optimizer.step()
        p_V = torch.bincount(codebook.eval()(z).tokens.flatten(), minlength=16) / 128
        perplexities.append(float(entropy(p_V).exp()))
    assert perplexities[1] > 1.5 * perplexities[0]
