"""The plugins in plugins/ obey the laws of what they are, and say what is true of them.

Letters: B batch, C width of a token vector, K Gaussians, M tokens.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from arlab import plugins
from arlab.backbones.attention import Attention
from arlab.backbones.transformer import Transformer
from arlab.configurable import from_spec
from arlab.conformance.laws import LAWS, Subject
from arlab.data.digits import Digits
from arlab.discovery import named
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance
from arlab.generators.sampler import Sampler
from arlab.heads.head import Head, Hidden, Predicted, Sampling
from arlab.orderings.ordering import Ordering, Prefix, condition_slots
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind, Layout, Read, Step
from arlab.plugins import registry
from arlab.pyramids.pyramid import Pyramid
from arlab.rng import BatchRng, Noise
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokens import TokenSpace

FOLDER = Path(__file__).parents[1] / "plugins"
GRIDS = ((3, 3), (2, 3), (4, 2), (1, 5), (6, 1), (7,), (2, 3, 2))
LATENTS = ((1,), (7,), (16,), (8, 8), (4, 6), (5, 9), (1, 8), (3, 4, 5))


@pytest.fixture(autouse=True, scope="module")
def _loaded() -> Iterator[None]:
    """Loaded for these tests alone: others have classes of the same names."""
    before = dict(registry._LOADED)
    plugins.load_named([FOLDER])
    yield
    for module in registry._LOADED.keys() - before.keys():
        del registry._LOADED[module], sys.modules[module]


def test_all_of_them_load() -> None:
    loaded = {Path(path).stem for path in registry.paths().values()}
    assert loaded >= {path.stem for path in FOLDER.glob("*.py")} >= {"spiral", "haar", "gaussian_mixture"}
    assert plugins.left_out() == ""


# ---- the ordering


def spiral() -> Ordering:
    return named(["Spiral"], Ordering, "ordering")


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_spiral_obeys_the_laws(grid: tuple[int, ...], law: Callable[[Subject], None]) -> None:
    law(Subject(spiral(), Layout((grid,))))


def order(grid: tuple[int, ...]) -> list[int]:
    return [int(index) for group in spiral().groups(grid) for index in group]


def test_spiral_turns_from_the_centre_outwards() -> None:
    assert order((3, 3)) == [4, 0, 1, 2, 5, 8, 7, 6, 3]
    assert order((1, 5)) == [2, 3, 1, 4, 0]
    assert order((4,)) == [1, 2, 0, 3]
    cells = [divmod(index, 5) for index in order((5, 5))]
    assert all(max(abs(y - 2), abs(x - 2)) == (0 if n == 0 else 1 if n < 9 else 2) for n, (y, x) in enumerate(cells))
    # Inside a ring the next cell is a neighbour.
    for ring in (cells[1:9], cells[9:]):
        assert all(abs(y - v) + abs(x - u) == 1 for (y, x), (v, u) in pairwise(ring))


def test_spiral_is_short_and_the_one_in_the_documentation() -> None:
    text, page = (FOLDER / "spiral.py").read_text(), (FOLDER.parent / "docs/extending.md").read_text()
    assert len(text.splitlines()) < 30
    assert f"```python\n{text}```" in page
    assert len(page.splitlines()) <= 60


# ---- the pyramid


def haar(**options: Any) -> Pyramid:
    return named(["HaarPyramid", *(f"{key}={value}" for key, value in options.items())], Pyramid, "pyramid")


def latent(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(2, 3, *shape, dtype=torch.float64)


def coarse(values: Tensor, level: int) -> Tensor:
    return (values * 2).round() / 2


@pytest.mark.parametrize("options", [{}, {"levels": 2}], ids=str)
@pytest.mark.parametrize("shape", LATENTS, ids=str)
def test_haar_levels_put_back_give_the_latent(shape: tuple[int, ...], options: dict[str, int]) -> None:
    z, pyramid = latent(shape), haar(**options)
    levels = pyramid.split(z)
    assert tuple(tuple(level.shape[2:]) for level in levels) == pyramid.layout(shape).shapes
    assert pyramid.layout(shape).shapes[-1] == shape
    assert (pyramid.canvas(levels, shape) - z).abs().max() < 1e-13
    last = len(levels) - 1
    rounded = pyramid.split(z, lambda values, level: values if level == last else coarse(values, level))
    assert (pyramid.canvas(rounded, shape) - z).abs().max() < 1e-13


@pytest.mark.parametrize("shape", LATENTS, ids=str)
def test_haar_levels_are_orthogonal_and_their_energies_sum_to_the_latents(shape: tuple[int, ...]) -> None:
    z, pyramid = latent(shape), haar()
    parts = torch.stack(pyramid.contributions(pyramid.split(z), shape)).flatten(2)
    inner = torch.einsum("ibn,jbn->bij", parts, parts)
    torch.testing.assert_close(inner.diagonal(dim1=1, dim2=2).sum(-1), z.square().flatten(1).sum(-1))
    assert (inner - torch.diag_embed(inner.diagonal(dim1=1, dim2=2))).abs().max() < 1e-11


def test_haar_cells_are_means_over_nested_blocks() -> None:
    pyramid, z = haar(), latent((5, 7))
    assert pyramid.layout((5, 7)).shapes == ((1, 1), (2, 2), (3, 4), (5, 7))
    assert haar(levels=2).layout((5, 7)).shapes == ((3, 4), (5, 7))
    first, second, *_ = pyramid.split(z)
    torch.testing.assert_close(first[..., 0, 0], z.mean((-1, -2)))
    torch.testing.assert_close(second[..., 1, 1], z[..., 4:, 4:].mean((-1, -2)) - z.mean((-1, -2)))
    # On a power of two, by hand: the mean and what is left of the two halves.
    line = torch.tensor([1.0, 3.0, 5.0, 11.0]).view(1, 1, 4)
    assert [level.flatten().tolist() for level in pyramid.split(line)] == [[5], [-3, 3], [-1, 1, -3, 3]]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_next_scale_follows_it(law: Callable[[Subject], None]) -> None:
    ordering, layout = named(["NextScale"], Ordering, "ordering"), haar().layout((3, 5))
    ordering.refuse(layout, haar())
    law(Subject(ordering, layout))


@pytest.mark.parametrize("levels", [0, -1, 10**9])
def test_impossible_levels_are_refused(levels: int) -> None:
    with pytest.raises(ValueError, match=r"pyramid\.levels: must be from 1 to 64, got"):
        haar(levels=levels)


# ---- the head


def mixture(ways: int = 1, **options: Any) -> Head:
    torch.manual_seed(0)
    head = named(["GaussianMixtureHead", *(f"{key}={value}" for key, value in options.items())], Head, "head")
    head.bind(4, TokenSpace(2), ways, carries=frozenset({Kind.COND, Kind.TOKEN}))
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
        type(mixture())(**options)


def test_codes_are_refused() -> None:
    head = named(["GaussianMixtureHead"], Head, "head")
    with pytest.raises(ValueError, match="needs continuous tokens"):
        head.bind(4, TokenSpace(2, 16), 1, carries=frozenset({Kind.COND, Kind.TOKEN}))


@pytest.mark.parametrize("ordering", [Raster(), None, "NextNeighbor"], ids=["raster", "spiral", "next_neighbor"])
def test_it_trains_samples_and_is_rebuilt_with_every_ordering(ordering: Ordering | str | None) -> None:
    torch.manual_seed(0)
    chosen = ordering if isinstance(ordering, Ordering) else named([ordering or "Spiral"], Ordering, "ordering")
    generator = Generator(
        tokenizer=KLTokenizer(
            facts=Digits().facts,
            autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 1, 1], res_blocks=1),
            token_width=3,
        ),
        ordering=chosen,
        backbone=Transformer(width=16, num_layers=1, attention=Attention(num_heads=2)),
        head=named(["GaussianMixtureHead", "components=2", "candidates=4"], Head, "head"),
        conditioner=ClassLabel(drop_probability=0.0),
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
    sampler = Sampler(guidance=ConstantGuidance(guidance_scale=2.0))
    together = sampler.sample(generator, label, seeds=range(4))
    alone = sampler.sample(generator, label[2:3], seeds=[2])
    assert bool(together.tokens.isfinite().all())
    torch.testing.assert_close(together.tokens[2:3], alone.tokens)
    rebuilt = from_spec(generator.head.spec(), Head)
    assert rebuilt.spec() == generator.head.spec()
    assert math.isfinite(before)
