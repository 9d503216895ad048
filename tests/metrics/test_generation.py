"""Fréchet distance against closed forms, precision and recall against sets counted by hand."""

import json
import math

import pytest
import torch

from arlab.data.stream import Images
from arlab.features.classifier import FeatureClassifier
from arlab.metrics.generation import (
    GenerationFigures,
    evaluate_generation,
    frechet_distance,
    kernel_distance,
    precision_recall,
    real_anchor,
)
from arlab.metrics.protocol import Protocol


def with_moments(num, mean, covariance, seed):
    """Vectors whose sample mean and sample covariance are exactly the given ones."""
    drawn = torch.randn(num, len(mean), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    drawn = drawn - drawn.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(drawn.T.cov()), drawn.T, upper=False).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def test_frechet_of_commuting_gaussians():
    mean_a, mean_b = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([0.5, 1.0, 1.0])
    variance_a, variance_b = torch.tensor([1.0, 4.0, 0.25]), torch.tensor([9.0, 4.0, 1.0])
    a = with_moments(50, mean_a, torch.diag(variance_a).double(), 0)
    b = with_moments(70, mean_b, torch.diag(variance_b).double(), 1)
    # |difference of means|² + sum of (sqrt a - sqrt b)²
    expected = (0.25 + 0 + 9) + (4 + 0 + 0.25)
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-9)


def test_frechet_of_gaussians_that_do_not_commute():
    covariance_a = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    covariance_b = torch.tensor([[1.0, -0.75], [-0.75, 3.0]], dtype=torch.float64)
    product = covariance_a @ covariance_b
    # In two dimensions tr √M = √(tr M + 2 √det M).
    root_trace = math.sqrt(product.trace().item() + 2 * math.sqrt(product.det().item()))
    expected = 25 + covariance_a.trace().item() + covariance_b.trace().item() - 2 * root_trace
    a = with_moments(40, torch.tensor([0.0, 0.0]), covariance_a, 2)
    b = with_moments(40, torch.tensor([3.0, 4.0]), covariance_b, 3)
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, abs=1e-9)


def test_frechet_of_a_set_with_itself_is_zero_even_where_features_are_constant():
    features = torch.randn(100, 64, generator=torch.Generator().manual_seed(0))
    features[:, 10:] = 1.0
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-5)


def test_identical_sets_have_full_precision_and_recall():
    points = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    assert precision_recall(points, points.clone()) == (1.0, 1.0)


def test_disjoint_sets_have_none():
    points = torch.randn(200, 8, generator=torch.Generator().manual_seed(0))
    assert precision_recall(points, points + 1000) == (0.0, 0.0)


def test_generated_from_some_modes_only_is_precise_but_not_complete():
    drawn = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    modes = torch.arange(4).repeat_interleave(100)[:, None] * 1000.0
    real = drawn + modes
    precision, recall = precision_recall(real, real[:100].clone())
    assert (precision, recall) == (1.0, 0.25)
    # The other way round, what one set lacks the other has too much of.
    assert precision_recall(real[:100].clone(), real) == (0.25, 1.0)


def test_balls_reach_to_the_kth_other_neighbour():
    real = torch.tensor([[0.0], [1.0], [3.0], [6.0]])
    # For k = 1 the radii are 1, 1, 2, 3: the manifold is [-1, 5] with [3, 9].
    generated = torch.tensor([[-1.0], [-1.5], [9.0], [9.5]])
    # The generated radii are 0.5 each: [-2, -0.5] with [8.5, 10] covers no real point.
    assert precision_recall(real, generated, k=1) == (0.5, 0.0)
    with pytest.raises(ValueError, match="at least 5 images a set, got 4 and 4"):
        precision_recall(real, generated, k=4)


def test_an_image_repeated_covers_nothing_but_itself():
    real = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    precision, recall = precision_recall(real, real[:1].expand(50, -1))
    assert (precision, recall) == (1.0, 1 / 50)


def images(num, seed, levels=256):
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, levels, (num, 1, 8, 8), generator=rng, dtype=torch.uint8)
    return Images(pixels, torch.arange(num) % 10, levels)


def tiny_network():
    torch.manual_seed(0)
    return FeatureClassifier(name="tiny", widths=(4, 8), num_features=6).eval()


def test_figures_carry_what_they_were_measured_with():
    network = tiny_network()
    protocol = Protocol(split="test", guidance_scale=2.0, temperature=1.0, seed=3, ema=True, dtype="float32")
    figures = evaluate_generation(network, images(30, 0), images(20, 1), protocol)
    assert figures.protocol.num_images == figures.num_generated == 20
    assert figures.num_real == 30
    assert (figures.protocol.feature_network, figures.protocol.feature_hash) == ("tiny", network.weights_hash)
    written = json.loads(figures.to_json())
    assert "frechet" not in written
    assert written["FID@20"] == figures.frechet > 0
    assert written["protocol"] == json.loads(figures.protocol.to_json())
    assert written["protocol"]["guidance_scale"] == 2.0
    assert written["protocol"]["torch_version"] == torch.__version__


def test_figures_do_not_depend_on_the_order_of_images():
    network, real, generated = tiny_network(), images(30, 0), images(20, 1)
    turned = Images(generated.pixel_NCHW.flip(0), generated.label_N.flip(0))
    one = evaluate_generation(network, real, generated, Protocol(split="test"))
    other = evaluate_generation(network, real, turned, Protocol(split="test"))
    assert one.frechet == pytest.approx(other.frechet, rel=1e-5)
    assert (one.agreement, one.precision, one.recall) == (other.agreement, other.precision, other.recall)


def test_a_set_against_itself_is_the_perfect_anchor():
    anchor = real_anchor(tiny_network(), images(30, 0), images(30, 0), "test against test")
    assert anchor.frechet == pytest.approx(0, abs=1e-5)
    assert (anchor.precision, anchor.recall) == (1.0, 1.0)
    assert anchor.agreement == anchor.real_agreement
    assert anchor.protocol.guidance_scale is None


@pytest.mark.parametrize(
    ("num_real", "num_generated", "name"),
    [(1000, 5000, "FID@1000"), (10_000, 9_999, "FID@9999"), (10_000,) * 2 + ("FID",)],
)
def test_only_ten_thousand_images_make_an_fid(num_real, num_generated, name):
    figures = GenerationFigures(1.0, 1.0, 2.0, 1.0, 1.0, num_real, num_generated, Protocol(split="test"))
    assert figures.fid_name == name


def test_images_of_another_depth_are_refused():
    with pytest.raises(ValueError, match="generated images: must have 256 intensity levels, got 17"):
        evaluate_generation(tiny_network(), images(10, 0), images(10, 1, levels=17), Protocol(split="test"))


def by_definition(x_ND, y_MD):
    """The unbiased estimate by its definition."""

    def kernel(a, b):
        return (a @ b.T / a.shape[1] + 1) ** 3

    n, m = len(x_ND), len(y_MD)
    xx, yy = kernel(x_ND, x_ND), kernel(y_MD, y_MD)
    within = (xx.sum() - xx.trace()) / (n * (n - 1)) + (yy.sum() - yy.trace()) / (m * (m - 1))
    return float(within - 2 * kernel(x_ND, y_MD).mean())


def test_kernel_distance_by_its_definition():
    random = torch.Generator().manual_seed(0)
    x_ND = torch.randn(30, 4, generator=random, dtype=torch.float64)
    y_ND = torch.randn(30, 4, generator=random, dtype=torch.float64) + 0.5
    # A subset of all images is all images.
    mean, deviation = kernel_distance(x_ND, y_ND, subset_size=100, subsets=3)
    assert mean == pytest.approx(by_definition(x_ND, y_ND), rel=1e-9)
    assert deviation == pytest.approx(0, abs=1e-9)


def test_kernel_distance_draws_by_its_seed():
    random = torch.Generator().manual_seed(0)
    x_ND, y_ND = torch.randn(2, 60, 4, generator=random)
    before = torch.get_rng_state()
    one, same, other = (kernel_distance(x_ND, y_ND, subset_size=20, seed=seed) for seed in (0, 0, 1))
    assert one == same != other
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(ValueError, match="at least 2 images"):
        kernel_distance(x_ND[:1], y_ND)
