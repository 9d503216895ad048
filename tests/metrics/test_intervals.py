"""Intervals cover what they should as often as they say, and shrink with the root of the number."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from arlab.metrics.intervals import Halves, half_sample_interval


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of_mean(values: Tensor, halves: int = 100) -> tuple[float, float]:
    mean = float(values.mean())
    return half_sample_interval(mean, lambda rows: float(values[rows].mean()), len(values), halves, 0)


@pytest.mark.parametrize("count", [40, 41])
def test_95_percent_intervals_cover_the_mean_95_times_in_100(count: int) -> None:
    intervals = [of_mean(normal(count, seed), halves=50) for seed in range(400)]
    covered = sum(low <= 0 <= high for low, high in intervals) / 400
    # Two standard errors of the share are 0.022; a normal quantile at 40 images costs another 0.006.
    assert covered == pytest.approx(0.945, abs=0.025)


def test_width_is_that_of_theory() -> None:
    for count in (100, 1000, 10_000):
        low, high = of_mean(normal(count), halves=400)
        assert high - low == pytest.approx(2 * 1.96 / count**0.5, rel=0.15)


def test_median_has_an_interval_though_a_jackknife_of_single_images_fails_for_it() -> None:
    values = normal(2001)
    low, high = half_sample_interval(0.0, lambda rows: float(values[rows].median()), 2001, 400, 0)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(math.pi / 2 / 2001), rel=0.3)


def test_halves_hold_each_image_once() -> None:
    drawn = Halves.draw(11, 30)
    assert drawn.row_SH.shape == (30, 5)
    assert all(len(set(rows.tolist())) == 5 for rows in drawn.row_SH)
    assert set(drawn.row_SH.flatten().tolist()) == set(range(11))
    part_SN = drawn.parts()
    assert part_SN.shape == (31, 11)
    assert part_SN.sum(1).tolist() == [11] + [5] * 30
    assert part_SN[4].nonzero()[:, 0].tolist() == sorted(drawn.row_SH[3].tolist())


def test_each_class_is_halved() -> None:
    label = torch.arange(60) % 6
    for rows in Halves.draw(60, 20, label_N=label).row_SH:
        assert label[rows].bincount().tolist() == [5] * 6
    odd = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])
    counts = torch.stack([odd[rows].bincount(minlength=3) for rows in Halves.draw(8, 50, label_N=odd).row_SH])
    assert bool((counts.sum(1) == 4).all())
    assert counts.amax(0).tolist() == [2, 2, 1]
    assert counts.amin(0).tolist() == [1, 1, 1]


def test_classes_of_a_chosen_size_are_no_chance() -> None:
    # The mean over classes that are far apart, with as many images of each, varies by what is within them only.
    label = torch.arange(400) % 4
    values = normal(400) + 100 * label
    statistic = lambda rows: float(values[rows].mean())  # noqa: E731
    low, high = half_sample_interval(150, statistic, 400, 200, 0, label_N=label)
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.2)
    low, high = half_sample_interval(150, statistic, 400, 200, 0)
    assert high - low > 10


def test_classes_of_one_image_each_are_halved_at_random() -> None:
    # Alternately, in the order of the classes, there would be two halves, and by their difference any interval.
    part_SN = Halves.draw(60, 50, label_N=torch.arange(60)).parts()[1:]
    assert len({tuple(part_N.tolist()) for part_N in part_SN}) == 50


def test_drawn_by_seed() -> None:
    assert torch.equal(Halves.draw(20, 5, 3).row_SH, Halves.draw(20, 5, 3).row_SH)
    assert not torch.equal(Halves.draw(20, 5, 3).row_SH, Halves.draw(20, 5, 4).row_SH)


def test_halves_without_a_figure_do_not_count() -> None:
    drawn = Halves.draw(20, 4)
    low, high = drawn.interval(5, torch.tensor([4.0, math.nan, 6.0, math.nan]))
    assert (low, high) == pytest.approx((5 - 1.96 * 2**0.5, 5 + 1.96 * 2**0.5))
    assert all(math.isnan(end) for end in drawn.interval(5, torch.tensor([4.0, math.nan])))


def test_one_image_or_one_half_tells_nothing() -> None:
    with pytest.raises(ValueError, match="interval: images: must be at least 2, got 1"):
        Halves.draw(1, 10)
    with pytest.raises(ValueError, match="interval: halves: must be at least 2, got 1"):
        half_sample_interval(0, lambda rows: 0, 10, 1, 0)
