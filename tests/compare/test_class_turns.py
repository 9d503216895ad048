"""Classes of generated images: in the proportions of the real ones, from the first image on."""

from __future__ import annotations

import torch

from arlab.compare.class_turns import class_turns


def test_equal_classes_take_turns() -> None:
    assert class_turns([7, 7, 7], 8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_every_beginning_has_the_proportions_of_the_counts() -> None:
    counts = torch.tensor([50, 3, 0, 20, 27])
    turns = class_turns(counts.tolist(), 300)
    given_NK = torch.nn.functional.one_hot(turns, 5).cumsum(0)
    due_NK = torch.arange(1, 301)[:, None] * counts / counts.sum()
    assert (given_NK - due_NK).abs().max() <= 1
    assert turns[:100].bincount(minlength=5).tolist() == counts.tolist()


def test_one_class_is_all_there_is() -> None:
    assert class_turns([5], 3).tolist() == [0, 0, 0]
