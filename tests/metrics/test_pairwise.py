"""Distances between features: those of their differences, exactly 0 between equal ones."""

from __future__ import annotations

import torch

from arlab.metrics.pairwise import blocks, distances


def test_distances_are_those_of_differences() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(20, 7, generator=rng), torch.randn(30, 7, generator=rng) + 5
    torch.testing.assert_close(distances(a, b), torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist"))


def test_equal_vectors_far_from_the_origin_are_at_distance_exactly_zero() -> None:
    a = torch.randn(50, 300, generator=torch.Generator().manual_seed(0)) + 100
    assert bool((distances(a, a).diagonal() == 0).all())
    # A thousandth of their spread is told apart.
    assert bool((distances(a, a + 1e-3) > 0).all())


def test_a_pair_comes_out_alike_in_any_set() -> None:
    a = torch.randn(200, 90, generator=torch.Generator().manual_seed(0))
    whole = distances(a, a)
    assert torch.equal(whole, whole.T)
    assert torch.equal(whole[3:8, 50:51], distances(a[3:8], a[50:51]))


def test_blocks_are_the_whole_set_in_order() -> None:
    a = torch.arange(10.0)[:, None]
    parts = list(blocks(a, 2**21))
    assert [len(part) for part in parts] == [2] * 5
    assert torch.equal(torch.cat(parts), a)
    assert [len(part) for part in blocks(a, 2**40)] == [1] * 10
