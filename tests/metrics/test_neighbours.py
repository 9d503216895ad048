"""Nearest training images: copies are at 0, unseen images at 1."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from arlab.metrics import pairwise
from arlab.metrics.neighbours import nearest, train_distance


def features(count: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_nearest_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairwise, "_HELD", 4)
    train = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 4.0]])
    found = nearest(torch.tensor([[3.0, 0.0], [0.0, 4.0], [13.0, 4.0]]), train)
    assert found.row_M.tolist() == [0, 2, 1]
    assert found.distance_M.tolist() == [3, 0, 5]


def test_copies_are_at_zero_and_unseen_images_at_one() -> None:
    train, unseen = features(200, 5), features(100, 5, 1)
    of_unseen = nearest(unseen, train).distance_M
    assert train_distance(nearest(train[:50], train).distance_M, of_unseen) == 0
    assert train_distance(of_unseen, of_unseen) == 1
    other = nearest(features(100, 5, 2), train).distance_M
    assert train_distance(other, of_unseen) == pytest.approx(1, abs=0.2)


def test_medians_by_hand() -> None:
    # 2.5 over 5; half of the images being copies does not hide that the other half is not.
    assert train_distance(torch.tensor([1.0, 4.0, 0.0, 9.0]), torch.tensor([2.0, 5.0, 6.0])) == 0.5
    assert train_distance(torch.tensor([0.0, 0.0, 9.0]), torch.tensor([2.0])) == 0
    assert math.isnan(train_distance(torch.ones(2), torch.zeros(3)))


def test_empty_sets_are_refused() -> None:
    with pytest.raises(ValueError, match="neighbours: need an image a set, got 3 and 0"):
        nearest(features(3, 2), features(0, 2))
    with pytest.raises(ValueError, match="train_distance: needs an image a set, got 0 and 3"):
        train_distance(torch.ones(0), torch.ones(3))
