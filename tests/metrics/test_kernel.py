"""Kernel distance by its double sum, for whole sets and parts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arlab.metrics import pairwise
from arlab.metrics.kernel import kernel_distance, kernel_distances, paired_kernel_distance


def features(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def kernel(a_D: Tensor, b_D: Tensor) -> float:
    return (float(a_D.double() @ b_D.double()) / len(a_D) + 1) ** 3


def by_definition(x_ND: Tensor, y_MD: Tensor) -> float:
    """The unbiased estimate by its double sum."""
    n, m = len(x_ND), len(y_MD)
    among_x = sum(kernel(x_ND[i], x_ND[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    among_y = sum(kernel(y_MD[i], y_MD[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(kernel(x, y) for x in x_ND for y in y_MD) / (n * m)
    return among_x + among_y - 2 * between


def everything(count: int) -> Tensor:
    return torch.ones(1, count, dtype=torch.bool)


def test_parts_by_the_double_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    # In blocks of a few images.
    monkeypatch.setattr(pairwise, "_HELD", 30)
    x, y = features(12, 3), features(9, 3, 1) + 0.5
    part_SM = torch.stack([torch.ones(9), torch.arange(9) % 2, torch.arange(9) < 4, torch.arange(9) < 1]).bool()
    found = kernel_distances(x, y, part_SM)
    assert found.tolist()[:3] == pytest.approx([by_definition(x, y[part]) for part in part_SM[:3]], rel=1e-9)
    assert bool(found[3].isnan())


def test_equal_distributions_are_at_distance_zero_on_average_and_others_are_not() -> None:
    found = torch.cat(
        [kernel_distances(features(20, 4, 2 * s), features(30, 4, 2 * s + 1), everything(30)) for s in range(300)]
    )
    assert abs(float(found.mean())) < 3 * float(found.std()) / 300**0.5
    assert float(kernel_distances(features(100, 4), features(100, 4, 1) + 1, everything(100))) > 0.5


def test_an_identical_set_is_below_zero_by_the_pairs_of_equals() -> None:
    x = features(10, 3)
    # Between the sets such pairs count, within one they do not.
    equal = sum(kernel(each, each) for each in x) / 10
    among = sum(kernel(x[i], x[j]) for i in range(10) for j in range(10) if i != j) / 90
    assert float(kernel_distances(x, x, everything(10))) == pytest.approx(2 * (among - equal) / 10, rel=1e-9)


def test_the_order_of_images_does_not_matter() -> None:
    x, y = features(30, 4), features(25, 4, 1)
    one, other = (kernel_distances(a, b, everything(25)) for a, b in ((x, y), (x.flip(0), y.roll(3, 0))))
    torch.testing.assert_close(one, other)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="KID: needs at least 2 images a set, got 1 and 5"):
        kernel_distances(features(1, 4), features(5, 4), everything(5))
    with pytest.raises(ValueError, match="at least 2 images"):
        kernel_distance(features(1, 4), features(5, 4))


def test_a_subset_of_all_images_is_the_double_sum() -> None:
    x, y = features(30, 4).double(), features(30, 4, 1).double() + 0.5
    mean, deviation = kernel_distance(x, y, subset_size=100, subsets=3)
    assert mean == pytest.approx(by_definition(x, y), rel=1e-9)
    assert deviation == pytest.approx(0, abs=1e-9)


def test_subsets_are_drawn_by_their_seed() -> None:
    x, y = features(60, 4), features(60, 4, 1)
    before = torch.get_rng_state()
    one, same, other = (kernel_distance(x, y, subset_size=20, seed=seed) for seed in (0, 0, 1))
    assert one == same != other
    assert torch.equal(before, torch.get_rng_state())


def test_images_and_their_reconstructions_by_hand() -> None:
    x, y = features(6, 3).double(), features(6, 3, seed=1).double()
    terms = [
        kernel(x[i], x[j]) + kernel(y[i], y[j]) - kernel(x[i], y[j]) - kernel(x[j], y[i])
        for i in range(6)
        for j in range(6)
        if i != j
    ]
    assert paired_kernel_distance(x, y) == pytest.approx(sum(terms) / 30, rel=1e-10)


def test_perfect_reconstructions_are_at_distance_zero_and_others_are_not() -> None:
    x = features(50, 8)
    assert paired_kernel_distance(x, x) == 0
    assert paired_kernel_distance(x, x + 1) > 0.1


def test_reconstructions_are_compared_without_bias_at_any_number() -> None:
    few = [paired_kernel_distance(features(10, 4, 2 * seed), features(10, 4, 2 * seed + 1)) for seed in range(300)]
    spread = torch.tensor(few).std() / 300**0.5
    assert abs(sum(few) / 300) < 3 * spread


def test_many_reconstructions_are_the_mean_over_blocks() -> None:
    x, y = features(2000, 4), features(2000, 4, seed=1)
    halves = paired_kernel_distance(x[:1000], y[:1000]), paired_kernel_distance(x[1000:], y[1000:])
    assert paired_kernel_distance(x, y) == pytest.approx(sum(halves) / 2)
    with pytest.raises(ValueError, match="needs at least 2 images a set, got 1"):
        paired_kernel_distance(x[:1], y[:1])
