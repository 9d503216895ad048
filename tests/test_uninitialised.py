"""Weights that are to be loaded are not drawn before; all else is made as always."""

from __future__ import annotations

import torch
from torch import nn

from arlab.uninitialised import uninitialised


class WithTable(nn.Module):
    """A table that is not saved, made with the functions that draw weights."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)
        self.register_buffer("table", nn.init.constant_(torch.empty(4), 7.0), persistent=False)


def test_nothing_is_drawn() -> None:
    before = torch.get_rng_state()
    with uninitialised():
        linear, table = nn.Linear(3, 5), nn.Embedding(7, 2)
        nn.init.normal_(tensor=linear.weight)
    assert torch.equal(torch.get_rng_state(), before)
    assert (linear.weight.shape, linear.weight.dtype) == ((5, 3), torch.float32)
    assert table.weight.requires_grad
    nn.Linear(3, 5)
    assert not torch.equal(torch.get_rng_state(), before)


def test_what_is_not_saved_is_made() -> None:
    with uninitialised():
        made = WithTable()
    assert torch.equal(made.table, torch.full((4,), 7.0))


def test_dtype_and_device_of_the_surroundings_stay() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), uninitialised():
            weight = nn.Linear(1, 1).weight
    finally:
        torch.set_default_dtype(torch.float32)
    assert (weight.dtype, weight.is_meta) == (torch.float64, True)
