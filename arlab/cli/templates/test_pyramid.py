"""The levels of MyPyramid put back give the latent: pytest plugins/test_my_pyramid.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from arlab import plugins
from arlab.discovery import named
from arlab.pyramids.pyramid import Pyramid

plugins.load(Path(__file__).with_name("my_pyramid.py"))
each_grid = pytest.mark.parametrize("shape", [(8, 8), (4, 6), (5, 9), (1, 8), (7,), (3, 4, 5)], ids=str)


@pytest.fixture
def pyramid() -> Pyramid:
    return named(["MyPyramid"], Pyramid, "pyramid")


@each_grid
def test_round_trip(pyramid: Pyramid, shape: tuple[int, ...]) -> None:
    z = torch.randn(2, 3, *shape, dtype=torch.float64)
    levels = pyramid.split(z)
    assert tuple(tuple(level.shape[2:]) for level in levels) == pyramid.layout(shape).shapes
    assert pyramid.layout(shape).shapes[-1] == shape
    torch.testing.assert_close(pyramid.canvas(levels, shape), z)


@each_grid
def test_the_last_level_makes_up_for_what_was_quantised(pyramid: Pyramid, shape: tuple[int, ...]) -> None:
    z, last = torch.randn(2, 3, *shape, dtype=torch.float64), len(pyramid.layout(shape).shapes) - 1

    def quantise(values: Tensor, level: int) -> Tensor:
        return values if level == last else values.round()

    torch.testing.assert_close(pyramid.canvas(pyramid.split(z, quantise), shape), z)


@each_grid
def test_a_constant_is_all_in_the_first_level(pyramid: Pyramid, shape: tuple[int, ...]) -> None:
    z = torch.full((1, 1, *shape), 3.0, dtype=torch.float64)
    first = pyramid.split(z)[0]
    torch.testing.assert_close(first, torch.full_like(first, 3.0))
    torch.testing.assert_close(pyramid.canvas([first], shape), z)
