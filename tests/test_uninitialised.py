"""Weights that are to be loaded are not drawn before."""

from __future__ import annotations

import torch
from torch import nn

from arlab.uninitialised import uninitialised


def test_nothing_is_drawn() -> None:
    before = torch.get_rng_state()
    with uninitialised():
        linear, table = nn.Linear(3, 5), nn.Embedding(7, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert linear.weight.shape == (5, 3)
    assert linear.weight.device.type == "cpu"
    assert table.weight.dtype == torch.float32
    nn.Linear(3, 5)
    assert not torch.equal(torch.get_rng_state(), before)


def test_a_dtype_of_the_surroundings_stays() -> None:
    with uninitialised():
        assert torch.get_default_dtype() == torch.float32
        assert nn.Linear(1, 1).double().weight.dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32
