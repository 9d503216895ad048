"""Diversity: nothing of collapsed classes, 1 of real ones, by hand in between."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from arlab.metrics.diversity import diversities


def features(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def diversity(real: Tensor, real_label: Tensor, generated: Tensor, label: Tensor) -> float:
    return float(diversities(real, real_label, generated, label, torch.ones(1, len(generated), dtype=torch.bool)))


LABEL = torch.arange(60) % 3


def test_equal_sets_are_as_diverse_and_collapsed_ones_are_not() -> None:
    real = features(60, 4)
    assert diversity(real, LABEL, real, LABEL) == pytest.approx(1)
    # Every class is one image, however different the classes are.
    assert diversity(real, LABEL, 100 * features(3, 4, 1)[LABEL], LABEL) == 0
    assert diversity(real, LABEL, 0.5 * real, LABEL) == pytest.approx(0.5)


def test_by_hand() -> None:
    real = torch.tensor([[0.0], [2.0], [10.0], [14.0]])
    # Within classes: 2 and 4, on average 3.
    label = torch.tensor([0, 0, 1, 1])
    # Three images of class 0: distances 1, 2, 3, on average 2; class 1: 1. On average 1.5.
    generated = torch.tensor([[0.0], [1.0], [3.0], [7.0], [8.0]])
    assert diversity(real, label, generated, torch.tensor([0, 0, 0, 1, 1])) == pytest.approx(0.5)


def test_classes_without_two_images_are_left_out_on_both_sides() -> None:
    real = torch.tensor([[0.0], [2.0], [10.0], [14.0], [5.0]])
    label = torch.tensor([0, 0, 1, 1, 2])
    generated = torch.tensor([[0.0], [1.0], [7.0], [0.0], [9.0]])
    found = diversity(real, label, generated, torch.tensor([0, 0, 1, 2, 2]))
    assert found == pytest.approx(1 / 2)
    assert math.isnan(diversity(real, label, generated, torch.tensor([0, 1, 2, 3, 4])))
    assert math.isnan(diversity(torch.zeros(4, 1), torch.zeros(4), generated, torch.zeros(5)))


def test_images_without_classes_are_one_class() -> None:
    real, generated = features(40, 3), features(30, 3, 1)
    expected = torch.pdist(generated.double()).mean() / torch.pdist(real.double()).mean()
    assert diversity(real, torch.zeros(40), generated, torch.zeros(30)) == pytest.approx(float(expected), rel=1e-6)


def test_parts_are_measured_as_if_there_were_nothing_else() -> None:
    real, generated = features(60, 4), features(60, 4, 1)
    part_SM = torch.stack([torch.arange(60) < size for size in (60, 31, 4)])
    found = diversities(real, LABEL, generated, LABEL, part_SM)
    expected = [diversity(real, LABEL, generated[part], LABEL[part]) for part in part_SM]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_the_order_of_images_does_not_matter() -> None:
    real, generated = features(60, 4), features(60, 4, 1)
    turned = diversity(real.flip(0), LABEL.flip(0), generated.roll(5, 0), LABEL.roll(5, 0))
    assert diversity(real, LABEL, generated, LABEL) == pytest.approx(turned, rel=1e-9)
