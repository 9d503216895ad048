"""Precision, recall, density and coverage of sets on a line, counted by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arlab.metrics import manifold, pairwise
from arlab.metrics.manifold import densities_coverages, precision_recall, precisions_recalls


def line(*places: float) -> Tensor:
    return torch.tensor(places)[:, None]


def features(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def everything(count: int) -> Tensor:
    return torch.ones(1, count, dtype=torch.bool)


def density_coverage(real: Tensor, generated: Tensor, k: int = 5) -> tuple[float, float]:
    density_1, coverage_1 = densities_coverages(real, generated, everything(len(generated)), k)
    return float(density_1), float(coverage_1)


def test_identical_sets_have_full_precision_and_recall() -> None:
    points = features(200, 64)
    assert precision_recall(points, points.clone()) == (1.0, 1.0)


def test_disjoint_sets_have_nothing() -> None:
    points = features(200, 8)
    assert precision_recall(points, points + 1000) == (0.0, 0.0)
    assert density_coverage(points, points + 1000) == (0.0, 0.0)


def test_generated_from_some_modes_only_is_precise_but_not_complete() -> None:
    real = features(400, 4) + torch.arange(4).repeat_interleave(100)[:, None] * 1000.0
    assert precision_recall(real, real[:100].clone()) == (1.0, 0.25)
    # The other way round, what one set lacks the other has too much of.
    assert precision_recall(real[:100].clone(), real) == (0.25, 1.0)
    assert density_coverage(real, real[:100].clone())[1] == 0.25


def test_balls_reach_to_the_kth_other_neighbour() -> None:
    real = line(0, 1, 3, 6)
    # For k = 1 the radii are 1, 1, 2, 3: the manifold is [-1, 5] with [3, 9].
    generated = line(-1, -1.5, 9, 9.5)
    # The generated radii are 0.5 each: [-2, -0.5] with [8.5, 10] covers no real point.
    assert precision_recall(real, generated, k=1) == (0.5, 0.0)
    with pytest.raises(ValueError, match="at least 5 images a set, got 4 and 4"):
        precision_recall(real, generated, k=4)


def test_an_image_repeated_covers_nothing_but_itself() -> None:
    real = features(50, 4)
    assert precision_recall(real, real[:1].expand(50, -1)) == (1.0, 1 / 50)


def test_density_counts_balls_and_coverage_balls_that_hold_something() -> None:
    # For k = 1: [-1, 1], [0, 2], [1, 5], [3, 9].
    real = line(0, 1, 3, 6)
    # 0.5 lies in two, 4 in two, 8 in one, 20 in none: 5 of 1 * 4. All balls but none are hit.
    assert density_coverage(real, line(0.5, 4, 8, 20), k=1) == (1.25, 1.0)
    # 7 and 8 lie in the last ball only.
    assert density_coverage(real, line(7, 8), k=1) == (1.0, 0.25)
    # On a rim is inside: 2 lies in [0, 2] and [1, 5].
    assert density_coverage(real, line(2), k=1) == (2.0, 0.5)


def test_two_neighbours() -> None:
    # For k = 2 the radii are 3, 2, 3, 5: [-3, 3], [-1, 3], [0, 6], [1, 11].
    real = line(0, 1, 3, 6)
    # -2 lies in one, 2 in all four, 10 in one: 6 of 2 * 3.
    assert density_coverage(real, line(-2, 2, 10), k=2) == (1.0, 1.0)
    # The generated radii are 12, 8, 12: [-14, 10], [-6, 10], [-2, 22].
    assert precision_recall(real, line(-2, 2, 10), k=2) == (1.0, 1.0)


def test_real_images_measured_against_themselves_have_density_about_one() -> None:
    density, coverage = density_coverage(features(1000, 8), features(1000, 8, 1))
    # E density = 1 and E coverage = 1 - (N - 1) ... (N - k) / (2 N - 1) ... (2 N - k), 1 - 1 / 2^5 for many images.
    assert density == pytest.approx(1, abs=0.1)
    assert coverage == pytest.approx(1 - 1 / 32, abs=0.03)


def test_an_outlier_raises_precision_but_hardly_density() -> None:
    generated = features(300, 2) + 6
    clean, outlying = features(300, 2), features(300, 2)
    outlying[0] = 30.0
    assert precision_recall(clean, generated).precision < 0.1
    assert precision_recall(outlying, generated).precision == 1
    assert density_coverage(outlying, generated)[0] < 0.3


def test_parts_are_measured_as_if_there_were_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = features(60, 2), features(80, 2, 1) * 0.7
    rng = torch.Generator().manual_seed(0)
    part_SM = torch.stack([torch.randperm(80, generator=rng) < size for size in (80, 40, 9, 6)])
    monkeypatch.setattr(pairwise, "_HELD", 500)
    for listed in (64, 5):
        # Of five neighbours, a small part often holds fewer than it needs.
        monkeypatch.setattr(manifold, "_LISTED", listed)
        precision_S, recall_S = precisions_recalls(real, generated, part_SM)
        density_S, coverage_S = densities_coverages(real, generated, part_SM)
        for part, of_part in zip(part_SM, zip(precision_S, recall_S, density_S, coverage_S, strict=True), strict=True):
            alone = generated[part]
            expected = (*slowly(real, alone), *density_coverage(real, alone))
            assert [float(each) for each in of_part] == pytest.approx(expected, rel=1e-12)


def slowly(real: Tensor, generated: Tensor, k: int = 3) -> tuple[float, float]:
    """Precision and recall, image by image."""

    def inside(point: Tensor, members: Tensor) -> bool:
        for member in members:
            radius = (members - member).norm(dim=1).sort().values[k]
            if (point - member).norm() <= radius:
                return True
        return False

    precision = sum(inside(point, real) for point in generated) / len(generated)
    return precision, sum(inside(point, generated) for point in real) / len(real)


def test_the_order_of_images_does_not_matter() -> None:
    real, generated = features(100, 4), features(90, 4, 1)
    turned = (real.flip(0), generated.roll(11, 0))
    assert precision_recall(real, generated) == precision_recall(*turned)
    assert density_coverage(real, generated) == pytest.approx(density_coverage(*turned), rel=1e-12)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="precision and recall: need at least 4 images a set, got 10 and 3"):
        precision_recall(features(10, 2), features(3, 2))
    with pytest.raises(ValueError, match="precision and recall: need at least 4 images a set, got 10 and 2"):
        precisions_recalls(features(10, 2), features(10, 2), torch.arange(10)[None] < 2)
    with pytest.raises(ValueError, match="need at least 6 real images and a generated one, got 5 and 9"):
        density_coverage(features(5, 2), features(9, 2))
