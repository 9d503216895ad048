from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from arlab.backbones.resized_places import ResizedPlaces
from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.step import Kind, Layout, Slots

LAYOUT = Layout(((1, 1), (2, 3), (4, 6), (2, 3)))


def test_places_are_the_area_of_the_map() -> None:
    module = ResizedPlaces(size=8).build(10, LAYOUT, 2)
    token = torch.tensor([0, 3, 36, 1, 8, 31, 30])
    out_SD = module(slots(Kind.COMPUTED, token, token, 1), LAYOUT)
    for row, index in enumerate(token.tolist()):
        shape = LAYOUT.shapes[int(LAYOUT.level_N[index])]
        cell = tuple(LAYOUT.cell_NA[index].tolist())
        area = F.adaptive_avg_pool2d(module.get_parameter("map")[None], shape)[0]
        assert torch.equal(out_SD[row], area[(slice(None), *cell)])


def test_condition_slots_add_a_vector_of_their_own() -> None:
    module = ResizedPlaces(size=4).build(6, LAYOUT, 2)
    nowhere = condition_slots(Prefix(2))
    standing = slots(Kind.COND, torch.tensor([1]), torch.tensor([0]), 0)
    out_SD = module(Slots.cat([nowhere, standing]), LAYOUT)
    own_PD = module.get_parameter("table")
    assert torch.equal(out_SD[:2], own_PD)
    torch.testing.assert_close(out_SD[2], own_PD[1] + module.get_parameter("map").mean((1, 2)))


@pytest.mark.parametrize("shapes", [((3,), (5,)), ((1, 2, 2), (2, 2, 3))], ids=str)
def test_other_axes_and_layouts_it_was_not_built_for(shapes: tuple[tuple[int, ...], ...]) -> None:
    module = ResizedPlaces(size=16).build(7, Layout(shapes), 0)
    for other in (shapes, (*shapes, tuple(2 * side for side in shapes[-1]))):
        layout = Layout(other)
        token = torch.arange(layout.num_tokens)
        out_SD = module(slots(Kind.COMPUTED, token, token, 1), layout)
        assert out_SD.shape == (layout.num_tokens, 7)
        assert len(out_SD.unique(dim=0)) > layout.num_tokens // 2


def test_too_many_cells() -> None:
    with pytest.raises(ValueError, match=r"backbone\.places\.size: must be at most 65536"):
        ResizedPlaces(size=300).build(8, LAYOUT, 1)
