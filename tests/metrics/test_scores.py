"""Inception score between its two ends."""

from __future__ import annotations

import math

import pytest
import torch

from arlab.metrics.scores import inception_score


def test_sure_scores_of_all_classes_are_worth_as_many_as_there_are() -> None:
    assert inception_score(100 * torch.eye(7).repeat(3, 1)) == pytest.approx(7)
    # So far apart that probabilities are 0 in float64.
    assert inception_score(1e6 * torch.eye(7).repeat(3, 1)) == pytest.approx(7)


def test_scores_that_tell_nothing_or_one_class_are_worth_one() -> None:
    assert inception_score(torch.zeros(20, 7)) == pytest.approx(1)
    assert inception_score(100 * torch.eye(7)[:1].repeat(20, 1)) == pytest.approx(1)


def test_two_images_by_hand() -> None:
    # p = (3/4, 1/4) and (1/4, 3/4): their mean is even, each is at log 2 - H(1/4) from it.
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert inception_score(logits) == pytest.approx(2 / math.exp(entropy))


def test_order_and_random_numbers_do_not_matter() -> None:
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    first = inception_score(logits)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    before = torch.get_rng_state()
    assert inception_score(logits) == first
    assert inception_score(logits) == pytest.approx(inception_score(logits.flip(0)), rel=1e-12)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(0, 5), (5, 1), (5,)])
def test_what_is_no_scores_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="inception score: needs scores"):
        inception_score(torch.zeros(shape))
