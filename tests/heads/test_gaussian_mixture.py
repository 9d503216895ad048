"""The mixture head: its density, its draws, and what it refuses.

Letters: B batch, C width of a token vector, K Gaussians, M tokens.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.transformer import Transformer
from arlab.configurable import from_spec
from arlab.data.digits import Digits
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.gaussian_mixture import GaussianMixtureHead
from arlab.heads.head import Head, Hidden, Predicted, Sampling
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.ordering import Ordering, Prefix, condition_slots
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Read, Step
from arlab.rng import BatchRng, Noise
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokens import TokenSpace

CARRIES = frozenset({Kind.COND, Kind.TOKEN})


def mixture(**options: int) -> GaussianMixtureHead:
    torch.manual_seed(0)
    head = GaussianMixtureHead(**options)  # type: ignore[arg-type]
    head.bind(4, TokenSpace(2), 1, carries=CARRIES)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return head.double()


READ = Read.own(torch.tensor([0, 1]), torch.tensor([0, 1]))
STEP = Step(condition_slots(Prefix(2)), READ)


def hidden(h_BSD: Tensor) -> Predicted:
    return Predicted(Hidden((h_BSD,), READ, Layout(((1, 2),))))


def test_the_density_integrates_to_one() -> None:
    head, predicted = mixture(components=3), hidden(torch.randn(1, 2, 4, dtype=torch.float64))
    side = torch.linspace(-12, 12, 401, dtype=torch.float64)
    points = torch.cartesian_prod(side, side)
    # All points at once: as many samples of the same hidden vectors.
    many = hidden(predicted.conditional.ways[0].expand(len(points), -1, -1))
    log_prob = head.log_prob(lambda: many, STEP, points[:, None].expand(-1, 2, -1))
    mass = log_prob.exp().sum(0) * (side[1] - side[0]) ** 2
    torch.testing.assert_close(mass, torch.ones(2, dtype=torch.float64), atol=1e-4, rtol=0)


def test_the_density_is_torchs() -> None:
    head, predicted = mixture(components=3), hidden(torch.randn(5, 2, 4, dtype=torch.float64))
    log_weight, mean, std = head._mixture(predicted)
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=log_weight),
        torch.distributions.Independent(torch.distributions.Normal(mean, std), 1),
    )
    target = torch.randn(5, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(head.log_prob(lambda: predicted, STEP, target), expected.log_prob(target))
    torch.testing.assert_close(head.loss(lambda: predicted, STEP, target, BatchRng(0, 5)), -expected.log_prob(target))


def drawn(head: Head, predicted: Predicted, count: int, scale: float = 1.0, **sampling: float) -> Tensor:
    """So many draws of the same two tokens, (count, 2, C)."""
    ways = [
        None if each is None else Hidden((each.ways[0].expand(count, -1, -1),), READ, each.layout)
        for each in (predicted.conditional, predicted.unconditional)
    ]
    assert ways[0] is not None
    noise = Noise(range(count), 2)
    return head.draw(lambda: Predicted(ways[0], ways[1]), STEP, scale, Sampling(**sampling), noise).tokens


def test_draws_have_the_mixtures_moments() -> None:
    head, predicted = mixture(components=3), hidden(torch.randn(1, 2, 4, dtype=torch.float64))
    log_weight, mean, std = head._mixture(predicted)
    weight = log_weight.exp()[..., None]
    expected = (weight * mean).sum(2)[0]
    variance = (weight * (mean.square() + std.square())).sum(2)[0] - expected.square()
    tokens = drawn(head, predicted, 4000)
    assert ((tokens.mean(0) - expected).abs() < 5 * (variance / 4000).sqrt()).all()
    torch.testing.assert_close(tokens.var(0), variance, rtol=0.15, atol=0.0)


def test_guidance_draws_from_the_sharpened_density() -> None:
    """Of one Gaussian each, p_c^s / p_u^(s - 1) is a Gaussian of known mean and variance."""
    head = mixture(components=1, candidates=64)
    both = [hidden(torch.randn(1, 2, 4, dtype=torch.float64) * 0.3) for _ in range(2)]
    (_, mean, std), (_, free_mean, free_std) = (head._mixture(each) for each in both)
    scale = 1.5
    precision = scale / std.square() - (scale - 1) / free_std.square()
    expected = (scale * mean / std.square() - (scale - 1) * free_mean / free_std.square()) / precision
    assert (precision > 0).all()
    tokens = drawn(head, Predicted(both[0].conditional, both[1].conditional), 500, scale)
    error = (1 / precision / 500).sqrt()[0, :, 0]
    assert ((tokens.mean(0) - expected[0, :, 0]).abs() < 6 * error).all()
    assert ((mean - expected)[0, :, 0].abs() > 3 * error).any()


def test_temperature_zero_takes_the_likeliest_mean() -> None:
    head, predicted = mixture(components=3), hidden(torch.randn(1, 2, 4, dtype=torch.float64))
    _, mean, _ = head._mixture(predicted)
    density = torch.stack([head.log_prob(lambda: predicted, STEP, mean[:, :, k]) for k in range(3)])
    expected = mean[0, torch.arange(2), density[:, 0].argmax(0)]
    tokens = drawn(head, predicted, 3, temperature=0.0)
    torch.testing.assert_close(tokens, expected.expand(3, -1, -1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "head.components: must be from 1 to 1024, got 0"),
        ({"candidates": 10**9}, "head.candidates: must be from 1 to 1024, got"),
        ({"init_std": float("nan")}, "head.init_std: must be at least 0, got nan"),
    ],
)
def test_what_the_head_refuses(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GaussianMixtureHead(**options)  # type: ignore[arg-type]


def test_codes_and_noised_slots_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs continuous tokens .* choose DiscreteHead"):
        GaussianMixtureHead().bind(4, TokenSpace(2, 16), 1, carries=CARRIES)
    with pytest.raises(ValueError, match=r"looks at no noised tokens.* choose FlowHead or DiffusionHead"):
        GaussianMixtureHead().bind(4, TokenSpace(2), 1, carries=CARRIES | {Kind.NOISY})


def test_it_tells_the_density_of_what_it_drew() -> None:
    """Whatever the temperature; by it orderings choose what to keep."""
    head, predicted = mixture(components=3), hidden(torch.randn(1, 2, 4, dtype=torch.float64))
    assert head.tells_probability
    for temperature in (0.0, 0.5, 1.0):
        told = head.draw(lambda: predicted, STEP, 1.0, Sampling(temperature), Noise([3], 2))
        torch.testing.assert_close(told.log_prob, head.log_prob(lambda: predicted, STEP, told.tokens))


def test_a_token_met_for_ever_has_no_infinite_density() -> None:
    head = mixture(components=2)
    with torch.no_grad():
        for parameter in head.outputs.parameters():
            parameter.fill_(-1000.0)
    log_prob = head.log_prob(lambda: hidden(torch.ones(1, 2, 4).double()), STEP, torch.full((1, 2, 2), -5000.0))
    assert bool(log_prob.isfinite().all())
    assert float(log_prob.detach().max()) < 2 * math.log(1 / 1e-3)


@pytest.mark.parametrize("ordering", [Raster(), NextNeighbor()], ids=["raster", "next_neighbor"])
def test_it_trains_samples_and_is_rebuilt(ordering: Ordering) -> None:
    torch.manual_seed(0)
    generator = Generator(
        tokenizer=KLTokenizer(
            facts=Digits().facts,
            autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 1, 1], res_blocks=1),
            token_width=3,
        ),
        ordering=ordering,
        backbone=Transformer(width=16, num_layers=1, attention=Attention(num_heads=2)),
        head=GaussianMixtureHead(components=2, candidates=4),
        conditioner=(conditioner := ClassLabel(drop_probability=0.0)),
        ema_decay=0.0,
    )
    label = torch.tensor([0, 1, 2, 3])
    tokens = torch.randn(4, generator.layout.num_tokens, 3)

    def loss() -> Tensor:
        return generator.objective.loss(generator, tokens, label, BatchRng(0, 4), generator.layout)

    before, optimizer = loss().item(), torch.optim.Adam(generator.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < before - 0.5
    log_prob = generator.eval().log_prob(tokens, label)
    torch.testing.assert_close(-log_prob.mean(), loss().detach())
    # Guided all the same, by a 'no class' that it never saw.
    conditioner.drop_probability = 0.1
    sampler = Sampler(guidance=ConstantGuidance(guidance_scale=2.0))
    together = sampler.sample(generator, label, seeds=range(4))
    alone = sampler.sample(generator, label[2:3], seeds=[2])
    assert bool(together.tokens.isfinite().all())
    torch.testing.assert_close(together.tokens[2:3], alone.tokens)
    rebuilt = from_spec(generator.head.spec(), Head)
    assert rebuilt.spec() == generator.head.spec()
    assert math.isfinite(before)
