"""Distances between sets: by hand, zero for equal sets, and under names that say what they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arlab.metrics.distances import kernel_distance, principal_axes, reconstruction_frechet
from arlab.metrics.generation import frechet_distance


def features(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_kernel_distance_by_hand() -> None:
    x, y = features(6, 3).double(), features(6, 3, seed=1).double()

    def kernel(a: Tensor, b: Tensor) -> float:
        return float((a @ b) / 3 + 1) ** 3

    terms = [
        kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i])
        for i in range(6)
        for j in range(6)
        if i != j
    ]
    assert kernel_distance(x, y) == pytest.approx(sum(terms) / 30, rel=1e-10)


def test_kernel_distance_of_a_set_with_itself_is_zero_and_of_another_is_not() -> None:
    x = features(50, 8)
    assert kernel_distance(x, x) == 0
    assert kernel_distance(x, x + 1) > 0.1


def test_kernel_distance_is_unbiased_at_any_number_of_images() -> None:
    few = [kernel_distance(features(10, 4, 2 * seed), features(10, 4, 2 * seed + 1)) for seed in range(300)]
    spread = torch.tensor(few).std() / 300**0.5
    assert abs(sum(few) / 300) < 3 * spread


def test_kernel_distance_of_many_images_is_the_mean_over_blocks() -> None:
    x, y = features(2000, 4), features(2000, 4, seed=1)
    halves = kernel_distance(x[:1000], y[:1000]), kernel_distance(x[1000:], y[1000:])
    assert kernel_distance(x, y) == pytest.approx(sum(halves) / 2)
    with pytest.raises(ValueError, match="needs at least 2 images a set, got 1"):
        kernel_distance(x[:1], y[:1])


def test_principal_axes_are_those_of_largest_variance() -> None:
    scale = torch.tensor([1.0, 10.0, 0.1, 5.0])
    x = features(500, 4) * scale + 3
    mean_D, axes_DK = principal_axes(x, 2)
    torch.testing.assert_close(mean_D, x.double().mean(0))
    torch.testing.assert_close(axes_DK.T @ axes_DK, torch.eye(2, dtype=torch.float64))
    assert axes_DK.abs().argmax(0).tolist() == [1, 3]


def test_few_features_are_compared_as_they_are() -> None:
    x, y = features(100, 64), features(100, 64, seed=1)
    result = reconstruction_frechet(x, y)
    assert result is not None
    assert (result.name, result.value) == ("rFID@100", frechet_distance(x, y))


def test_many_features_are_compared_on_the_axes_of_the_real_ones() -> None:
    x = features(200, 100)
    y = x + 0.5
    result = reconstruction_frechet(x, y)
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
def test_too_few_images_have_none(count: int, width: int) -> None:
    assert reconstruction_frechet(features(count, width), features(count, width)) is None
