"""The contract of a pyramid, on the smallest residual one: its levels put back give the latent, quantised or not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.conformance.laws import LAWS, Subject
from arlab.conformance.toy import ToyTokenizer
from arlab.orderings.step import Layout
from arlab.pyramids.pyramid import ResidualPyramid
from tests.paradigms.orderings import ScaleByScale


class ResidualScales(ResidualPyramid):
    """Each scale is the area average of what the scales before it left over (VAR's, without phi).

    Args:
        grids: (H, W) of each scale, the finest last.
    """

    def __init__(self, *, grids: tuple[tuple[int, int], ...]) -> None:
        self.grids = grids

    def layout(self, shape: tuple[int, ...]) -> Layout:
        if self.grids[-1] != shape:
            raise ValueError(f"pyramid.grids: the finest is {self.grids[-1]}, the latent is {shape}")
        return Layout(self.grids)

    def share(self, z: Tensor, level: int) -> Tensor | None:
        return z if level == 0 else None

    def down(self, rest: Tensor, level: int) -> Tensor:
        return F.adaptive_avg_pool2d(rest, self.grids[level])

    def up(self, values: Tensor, level: int, shape: tuple[int, ...]) -> Tensor:
        return F.interpolate(values, shape, mode="nearest")


PYRAMIDS = [
    ResidualScales(grids=((1, 1), (2, 2), (4, 4))),
    ResidualScales(grids=((1, 1), (1, 2), (2, 3), (3, 5))),
    ResidualScales(grids=((1, 1), (1, 7))),
]


@pytest.mark.parametrize("pyramid", PYRAMIDS, ids=lambda pyramid: str(pyramid.grids[-1]))
def test_round_trip(pyramid: ResidualScales) -> None:
    shape = pyramid.grids[-1]
    z = torch.randn(2, 3, *shape)
    levels = pyramid.split(z)
    assert tuple(tuple(level.shape[2:]) for level in levels) == pyramid.layout(shape).shapes
    torch.testing.assert_close(pyramid.canvas(levels, shape), z)


def test_what_a_level_fails_to_express_is_left_to_the_next() -> None:
    pyramid = PYRAMIDS[0]
    z = torch.randn(2, 3, 4, 4)
    rounded = pyramid.split(z, lambda level, number: (level * 2).round() / 2)
    error = (pyramid.canvas(rounded, (4, 4)) - z).abs().max()
    assert 0 < error <= 0.25 + 1e-6
    # Without residuals the rounding of all three levels would add up.
    assert error < sum((level - (level * 2).round() / 2).abs().max() for level in pyramid.split(z))


def test_a_latent_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pyramid\.grids"):
        PYRAMIDS[0].layout((4, 6))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_an_ordering_follows_its_levels_with_its_canvas(law: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Next-scale obeys every law with the pyramid's canvas in place of the toy tokenizer's."""
    pyramid = PYRAMIDS[1]
    layout = pyramid.layout((3, 5))

    def canvas(self: ToyTokenizer, tokens: Tensor, level: int) -> Tensor:
        below = [
            tokens[:, layout.tokens(number)].transpose(1, 2).unflatten(-1, layout.shapes[number])
            for number in range(level)
        ]
        return pyramid.canvas(below, (3, 5)) if below else tokens.new_zeros(len(tokens), tokens.shape[-1], 3, 5)

    monkeypatch.setattr(ToyTokenizer, "canvas", canvas)
    assert callable(law)
    law(Subject(ScaleByScale(), layout))
