"""Scales against their formulas, and what a configuration may say of them."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.pyramids.interpolation import Bicubic, Bilinear, Interpolation, Nearest
from arlab.pyramids.scale import ScalePyramid

VAR = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


def halves(values: Tensor, level: int) -> Tensor:
    return (values * 2).round() / 2


def test_vars_split_by_hand() -> None:
    z = torch.randn(2, 3, 16, 16)
    rest, expected = z.clone(), []
    for side in VAR:
        level = halves(rest if side == 16 else F.adaptive_avg_pool2d(rest, side), 0)
        expected.append(level)
        rest = rest - (level if side == 16 else F.interpolate(level, (16, 16), mode="bicubic"))
    pyramid = ScalePyramid(patch_nums=list(VAR))
    levels = pyramid.split(z, halves)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(levels, expected, strict=True))
    torch.testing.assert_close(pyramid.canvas(levels, (16, 16)), z - rest)
    assert pyramid.layout((16, 16)).num_tokens == 680


def test_ground_truth_is_the_latent_at_every_size() -> None:
    z = torch.randn(2, 3, 8, 8)
    pyramid = ScalePyramid(patch_nums=[1, 3, 8], residual=False)
    levels = pyramid.split(z)
    assert torch.equal(levels[1], F.interpolate(z, (3, 3), mode="area"))
    assert levels[2] is z
    assert torch.equal(pyramid.canvas(levels[:2], (8, 8)), F.interpolate(levels[1], (8, 8), mode="bicubic"))
    assert torch.equal(pyramid.canvas(levels, (8, 8)), z)
    added = pyramid.contributions(levels, (8, 8))
    torch.testing.assert_close(added[2], z - pyramid.canvas(levels[:2], (8, 8)))


@pytest.mark.parametrize(
    ("patch_nums", "shape", "shapes"),
    [
        ([1, 2, 4], (4, 4), ((1, 1), (2, 2), (4, 4))),
        ([1, 2, 3, 6], (4, 6), ((1, 1), (1, 2), (2, 3), (4, 6))),
        ([1, 2, 3, 6], (6, 4), ((1, 1), (2, 1), (3, 2), (6, 4))),
        ([1, 4, 8], (1, 8), ((1, 1), (1, 4), (1, 8))),
        ([1, [2, 5], [4, 6]], (4, 6), ((1, 1), (2, 5), (4, 6))),
        ([3, 9], (9,), ((3,), (9,))),
        ([1, [1, 2, 2], 5], (3, 4, 5), ((1, 1, 1), (1, 2, 2), (3, 4, 5))),
        (None, (7, 7), ((1, 1), (3, 3), (7, 7))),
        (None, (4, 6), ((1, 1), (2, 3), (4, 6))),
        (None, (1, 1), ((1, 1),)),
    ],
)
def test_grids(
    patch_nums: list[int | list[int]] | None, shape: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]
) -> None:
    assert ScalePyramid(patch_nums=patch_nums).layout(shape).shapes == shapes


@pytest.mark.parametrize(
    ("patch_nums", "told"),
    [
        ([], "expected 1 to 1000 levels, got 0"),
        ([0, 4], "every side must be at least 1, got 0"),
        ([[1, -2], 4], "every side must be at least 1, got [1, -2]"),
        ([[], 4], "every side must be at least 1, got []"),
        ([1, 2], "the last level is [2, 2], but must be the latent's own grid, [4, 4]"),
        ([1, 10**12], f"the last level is [{10**12}, {10**12}], but must be the latent's own grid, [4, 4]"),
        ([1, 3, 2, 4], "levels must not shrink, but level 2 is [2, 2] after [3, 3]"),
        ([1, [2], 4], "level 1 is [2], but the latent has 2 axes, [4, 4]"),
    ],
)
def test_impossible_grids_are_refused(patch_nums: list[int | list[int]], told: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(f"pyramid.patch_nums: {told}") + "$"):
        ScalePyramid(patch_nums=patch_nums).layout((4, 4))


@pytest.mark.parametrize("interpolation", [Bicubic(), Bilinear(), Nearest()], ids=lambda each: type(each).__name__)
def test_interpolation_is_the_same_on_one_and_three_axes(interpolation: Interpolation) -> None:
    line = torch.randn(2, 3, 4, dtype=torch.float64)
    on_one = interpolation(line, (9,))
    plane = line[..., None].expand(2, 3, 4, 5)
    torch.testing.assert_close(on_one[..., None].expand(2, 3, 9, 7), interpolation(plane, (9, 7)))
    torch.testing.assert_close(on_one, interpolation(line[..., None], (9, 1))[..., 0])
    image = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    film = image[:, :, None].expand(2, 3, 2, 4, 5)
    torch.testing.assert_close(interpolation(film, (3, 8, 9))[:, :, 1], interpolation(image, (8, 9)))
    assert interpolation(image, (4, 5)) is image


def test_interpolations_are_torchs() -> None:
    image, film = torch.randn(2, 3, 2, 5), torch.randn(2, 3, 2, 2, 5)
    torch.testing.assert_close(Bicubic()(image, (4, 6)), F.interpolate(image, (4, 6), mode="bicubic"))
    torch.testing.assert_close(Bilinear()(film, (2, 4, 6)), F.interpolate(film, (2, 4, 6), mode="trilinear"))
