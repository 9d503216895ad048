"""Fréchet distance against closed forms, under names that say what it was taken of."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from arlab.metrics.frechet import FrechetTo, comparable, frechet_distance, principal_axes, reconstruction_frechet


def features(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def with_moments(count: int, mean: Tensor, covariance: Tensor, seed: int) -> Tensor:
    """Vectors whose sample mean and sample covariance are exactly the given ones."""
    drawn = features(count, len(mean), seed).double()
    drawn = drawn - drawn.mean(0)
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(torch.atleast_2d(drawn.T.cov())), drawn.T, upper=False
    ).T
    return white @ torch.linalg.cholesky(covariance).T + mean


def both(real: Tensor, generated: Tensor) -> tuple[float, float]:
    """Through torchmetrics, and through the root that is taken once."""
    return frechet_distance(real, generated), FrechetTo(real)(generated)


def test_gaussians_that_commute() -> None:
    mean_a, mean_b = torch.tensor([0.0, 1.0, -2.0]), torch.tensor([0.5, 1.0, 1.0])
    variance_a, variance_b = torch.tensor([1.0, 4.0, 0.25]), torch.tensor([9.0, 4.0, 1.0])
    a = with_moments(50, mean_a, torch.diag(variance_a).double(), 0)
    b = with_moments(70, mean_b, torch.diag(variance_b).double(), 1)
    # |difference of means|² + sum of (sqrt a - sqrt b)²
    expected = (0.25 + 0 + 9) + (4 + 0 + 0.25)
    assert both(a, b) == pytest.approx((expected, expected), abs=1e-9)


def test_gaussians_that_do_not_commute() -> None:
    covariance_a = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    covariance_b = torch.tensor([[1.0, -0.75], [-0.75, 3.0]], dtype=torch.float64)
    product = covariance_a @ covariance_b
    # In two dimensions tr √M = √(tr M + 2 √det M).
    root_trace = math.sqrt(product.trace().item() + 2 * math.sqrt(product.det().item()))
    expected = 25 + covariance_a.trace().item() + covariance_b.trace().item() - 2 * root_trace
    a = with_moments(40, torch.tensor([0.0, 0.0]), covariance_a, 2)
    b = with_moments(40, torch.tensor([3.0, 4.0]), covariance_b, 3)
    assert both(a, b) == pytest.approx((expected, expected), abs=1e-9)
    assert both(b, a) == pytest.approx((expected, expected), abs=1e-9)


def test_one_feature() -> None:
    a = with_moments(20, torch.tensor([1.0]), torch.tensor([[4.0]], dtype=torch.float64), 0)
    b = with_moments(30, torch.tensor([3.0]), torch.tensor([[9.0]], dtype=torch.float64), 1)
    assert both(a, b) == pytest.approx((5, 5), abs=1e-9)


@pytest.mark.parametrize("width", [3, 40, 90])
def test_both_ways_agree_also_where_images_are_fewer_than_features(width: int) -> None:
    real, generated = features(60, width), features(50, width, 1) * 1.3 + 0.2
    one, other = both(real, generated)
    assert one == pytest.approx(other, rel=1e-6)


def test_a_set_with_itself_is_at_distance_zero_even_where_features_are_constant() -> None:
    real = features(100, 64)
    real[:, 10:] = 1.0
    assert both(real, real) == pytest.approx((0, 0), abs=1e-5)


def test_the_order_of_images_does_not_matter() -> None:
    real, generated = features(50, 5), features(40, 5, 1)
    assert both(real, generated) == pytest.approx(both(real.flip(0), generated.roll(7, 0)), rel=1e-9)


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="FID: needs at least 2 images a set, got 1 and 5"):
        frechet_distance(features(1, 3), features(5, 3))
    with pytest.raises(ValueError, match="FID: needs at least 2 images a set"):
        FrechetTo(features(5, 3))(features(1, 3))


@pytest.mark.parametrize(
    ("num_real", "num_generated", "width", "name"),
    [
        (100, 50, 64, "FID@50"),
        (50, 100, 8, "FID@50"),
        (10_000, 9_999, 4, "FID@9999"),
        (10_000, 10_000, 4, "FID"),
        (10_000, 10_000, 80, "FID"),
        (100, 70, 65, "FID_pca64@70"),
        (70, 10, 65, "FID_pca64@10"),
    ],
)
def test_names_tell_what_is_compared(num_real: int, num_generated: int, width: int, name: str) -> None:
    pair = comparable(features(num_real, width), features(num_generated, width, 1))
    assert pair is not None
    assert pair.name == name
    assert pair.real_ND.shape == (num_real, 64 if "pca" in name else width)
    assert pair.generated_MD.shape == (num_generated, 64 if "pca" in name else width)


@pytest.mark.parametrize(("num_real", "num_generated", "width"), [(1, 9, 4), (9, 1, 4), (64, 100, 65)])
def test_too_few_images_are_not_comparable(num_real: int, num_generated: int, width: int) -> None:
    assert comparable(features(num_real, width), features(num_generated, width)) is None


def test_axes_are_those_of_the_real_images() -> None:
    scale = torch.ones(70)
    scale[:64] = 10
    real = features(300, 70) * scale
    shift = torch.zeros(70)
    shift[:64], shift[64:] = 0.5, 100.0
    pair = comparable(real, real + shift)
    assert pair is not None
    # A shift leaves the covariance as it is. What lies outside the 64 axes is not seen, however large.
    _, axes_DK = principal_axes(real, 64)
    expected = float((shift.double() @ axes_DK).square().sum())
    assert frechet_distance(pair.real_ND, pair.generated_MD) == pytest.approx(expected, rel=1e-6)


def test_principal_axes_are_those_of_largest_variance() -> None:
    scale = torch.tensor([1.0, 10.0, 0.1, 5.0])
    x = features(500, 4) * scale + 3
    mean_D, axes_DK = principal_axes(x, 2)
    torch.testing.assert_close(mean_D, x.double().mean(0))
    torch.testing.assert_close(axes_DK.T @ axes_DK, torch.eye(2, dtype=torch.float64))
    assert axes_DK.abs().argmax(0).tolist() == [1, 3]


def test_few_features_of_reconstructions_are_compared_as_they_are() -> None:
    x, y = features(100, 64), features(100, 64, seed=1)
    result = reconstruction_frechet(x, y)
    assert result is not None
    assert (result.name, result.value) == ("rFID@100", frechet_distance(x, y))


def test_many_features_of_reconstructions_are_compared_on_the_axes_of_the_real_ones() -> None:
    x = features(200, 100)
    result = reconstruction_frechet(x, x + 0.5)
    assert result is not None
    assert result.name == "rFID_pca64@200"
    _, axes_DK = principal_axes(x, 64)
    # A shift leaves the covariance as it is, so the distance is the length of the shift within those axes.
    assert result.value == pytest.approx(float((axes_DK.T @ torch.full((100,), 0.5).double()).square().sum()), abs=1e-4)


@pytest.mark.parametrize(
    ("count", "width", "name"), [(10_000, 4, "rFID"), (10_000, 80, "rFID_pca64"), (2, 4, "rFID@2")]
)
def test_equal_sets_are_at_distance_zero_under_the_right_name(count: int, width: int, name: str) -> None:
    x = features(count, width)
    result = reconstruction_frechet(x, x)
    assert result is not None
    assert result.name == name
    assert result.value == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("count", "width"), [(1, 4), (64, 65)])
def test_too_few_reconstructions_have_none(count: int, width: int) -> None:
    assert reconstruction_frechet(features(count, width), features(count, width)) is None
