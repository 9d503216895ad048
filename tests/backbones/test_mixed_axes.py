"""ACDiT's rotary positions, channel by channel."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from arlab.backbones.mixed_axes import MixedAxes
from arlab.backbones.rotary import CountedRotation, IdentityRotation, ZeroRotation
from arlab.configurable import from_spec
from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.step import Kind, Layout, Slots

LAYOUT = Layout(((2, 3),))


def every_token(layout: Layout, num_condition: int = 0) -> Slots:
    token = torch.arange(layout.num_tokens)
    rows = slots(Kind.TOKEN, token, token, 1)
    return Slots.cat([condition_slots(Prefix(num_condition)), rows]) if num_condition else rows


def by_hand(x_E: Tensor, place: Tensor, pairs: list[int], base: list[float]) -> Tensor:
    """Angles of each axis twice, side by side; channel i goes with channel i + E / 2."""
    angle = []
    for axis, count in enumerate(pairs):
        frequency = [base[axis] ** -(j / (count - 1) if count > 1 else 0.0) for j in range(count)]
        angle += [float(place[axis]) * f for f in frequency * 2]
    half, out = len(x_E) // 2, []
    for i, theta in enumerate(angle):
        partner = -x_E[i + half] if i < half else x_E[i - half]
        out.append(x_E[i] * math.cos(theta) + partner * math.sin(theta))
    return torch.stack(out)


@pytest.mark.parametrize(
    ("layout", "width", "shares", "pairs"),
    [
        (LAYOUT, 8, None, [2, 2]),
        (LAYOUT, 4, None, [1, 1]),
        (LAYOUT, 12, [2, 1], [4, 2]),
        (Layout(((2, 2, 3),)), 16, [2, 3, 3], [2, 3, 3]),
        (Layout(((5,),)), 6, None, [3]),
    ],
)
def test_it_is_its_formula(layout: Layout, width: int, shares: list[int] | None, pairs: list[int]) -> None:
    x = torch.randn(layout.num_tokens, width)
    turned = MixedAxes(shares=shares, base=50.0).rotation(every_token(layout), layout, width, 0)(x)
    for token, place in enumerate(layout.cell_NA):
        expected = by_hand(x[token], place, pairs, [50.0] * len(pairs))
        torch.testing.assert_close(turned[token], expected)


def test_bases_of_published_grids() -> None:
    """100 (⌊8 L / 100 π⌋ + 1): 100 for 32 places, 200 for 64; along each axis its own."""
    layout = Layout(((64, 32),))
    turn = MixedAxes().rotation(every_token(layout), layout, 8, 0)
    slowest = torch.tensor([1 / 200, 1 / 100])
    torch.testing.assert_close(turn.sin[32, [1, 5]], torch.tensor([slowest[0].sin(), 0.0]))
    torch.testing.assert_close(turn.sin[1, [1, 5]], torch.tensor([0.0, slowest[1].sin()]))


def test_condition_slots_are_left_erased_or_counted() -> None:
    rows, x = every_token(LAYOUT, 3), torch.randn(9, 8)
    turned = {
        type(nowhere): MixedAxes(nowhere=nowhere).rotation(rows, LAYOUT, 8, 3)(x)
        for nowhere in (ZeroRotation(), IdentityRotation(), CountedRotation())
    }
    assert not turned[ZeroRotation][:3].any()
    assert torch.equal(turned[IdentityRotation][:3], x[:3])
    assert torch.equal(MixedAxes().rotation(rows, LAYOUT, 8, 3)(x), turned[IdentityRotation])
    before = by_hand(x[2], torch.tensor([-1, -1]), [2, 2], [100.0, 100.0])
    torch.testing.assert_close(turned[CountedRotation][2], before)


def test_places_per_sample() -> None:
    drawn, x = torch.tensor([[0, 5, 2], [4, 1, 3]]), torch.randn(2, 2, 3, 8)
    turned = MixedAxes().rotation(slots(Kind.TOKEN, drawn, drawn, 0), LAYOUT, 8, 0)(x)
    for sample in range(2):
        rows = slots(Kind.TOKEN, drawn[sample], drawn[sample], 0)
        torch.testing.assert_close(turned[sample], MixedAxes().rotation(rows, LAYOUT, 8, 0)(x[sample]))


def test_other_layouts_have_the_unit_and_the_base_of_the_first() -> None:
    small, x = Layout(((32, 32),)), torch.ones(1, 8)
    token, doubled = torch.tensor([33]), torch.tensor([2 * 64 + 2])
    here = MixedAxes().rotation(slots(Kind.TOKEN, token, token, 0), small, 8, 0)(x)
    large = Layout(((64, 64),))
    there = MixedAxes().rotation(slots(Kind.TOKEN, doubled, doubled, 0), large, 8, 0, (32, 32))(x)
    torch.testing.assert_close(here, there)


def test_half_precision_comes_out_as_it_went_in() -> None:
    x = torch.randn(6, 8, dtype=torch.bfloat16)
    assert MixedAxes().rotation(every_token(LAYOUT), LAYOUT, 8, 0)(x).dtype is torch.bfloat16


def test_options_are_kept() -> None:
    rotary = MixedAxes(shares=[2, 1], base=30.0, nowhere=ZeroRotation())
    assert from_spec(rotary.spec(), MixedAxes).spec() == rotary.spec()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone.rotary.base: must be positive, got nan"):
        MixedAxes(base=float("nan"))
    with pytest.raises(ValueError, match=r"backbone.rotary.shares: must be from 1 to 65536, got 0"):
        MixedAxes(shares=[1, 0])
    with pytest.raises(ValueError, match=r"a number for each axis, got \[\]"):
        MixedAxes(shares=[])
    with pytest.raises(ValueError, match=r"a number for each of 2 axes, got \[1\]"):
        MixedAxes(shares=[1]).rotation(every_token(LAYOUT), LAYOUT, 8, 0)
    with pytest.raises(ValueError, match=r"must be a multiple of 4, got 6"):
        MixedAxes().rotation(every_token(LAYOUT), LAYOUT, 6, 0)
