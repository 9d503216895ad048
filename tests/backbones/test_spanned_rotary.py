"""Rotary positions over a span of their own."""

from __future__ import annotations

import pytest
import torch

from arlab.backbones.rotary import AxialRotary, CountedRotation, IdentityRotation, Nowhere, ZeroRotation
from arlab.backbones.spanned_rotary import SpannedRotary
from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.step import Kind, Layout, Slots


def rows(layout: Layout) -> Slots:
    token = torch.arange(layout.num_tokens)
    return Slots.cat([condition_slots(Prefix(2)), slots(Kind.TOKEN, token, token, 1)])


@pytest.mark.parametrize("nowhere", [ZeroRotation(), IdentityRotation(), CountedRotation()])
def test_where_the_span_is_the_grid_it_is_the_axial_one(nowhere: Nowhere) -> None:
    layout = Layout(((1, 1), (2, 3), (4, 6)))
    ours = SpannedRotary(span=6, base=50.0, nowhere=nowhere).rotation(rows(layout), layout, 8, 2)
    axial = AxialRotary(base=50.0, nowhere=nowhere).rotation(rows(layout), layout, 8, 2)
    assert ours is not None
    assert axial is not None
    torch.testing.assert_close((ours.cos, ours.sin), (axial.cos, axial.sin))


def test_finer_grids_reach_as_far() -> None:
    """Every other place of a grid twice as fine is one of the coarser grid."""
    coarse, fine = Layout(((3, 4),)), Layout(((6, 8),))
    known = SpannedRotary(span=16.0).rotation(rows(coarse), coarse, 8, 2)
    other = SpannedRotary(span=16.0).rotation(rows(fine), fine, 8, 2, coarse.finest)
    assert known is not None
    assert other is not None
    torch.testing.assert_close(other.cos[2:].unflatten(0, (6, 8))[::2, ::2].flatten(0, 1), known.cos[2:])


@pytest.mark.parametrize("span", [0.0, -1.0, float("nan"), float("inf")])
def test_a_span_is_a_positive_number(span: float) -> None:
    with pytest.raises(ValueError, match=r"backbone\.rotary\.span: must be"):
        SpannedRotary(span=span)
