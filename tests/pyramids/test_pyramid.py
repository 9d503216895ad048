"""What every pyramid obeys: its levels put back give the latent, and what a level misses is handed on.

Letters: B batch, C channels.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from arlab.configurable import from_spec
from arlab.conformance.laws import LAWS, Subject
from arlab.conformance.toy import ToyTokenizer
from arlab.discovery import discover
from arlab.orderings.next_scale import NextScale
from arlab.pyramids.bands import Radial
from arlab.pyramids.depth import DepthPyramid
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.interpolation import Bilinear, Nearest
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.pyramids.transforms import FFT

VARIANTS = (
    ScalePyramid(interpolation=Bilinear()),
    ScalePyramid(interpolation=Nearest()),
    ScalePyramid(residual=False),
    FrequencyPyramid(transform=FFT()),
    FrequencyPyramid(shape=Radial()),
    FrequencyPyramid(shape=Radial(), transform=FFT(interpolation=Nearest())),
)
GRIDS = ((1,), (7,), (16,), (8, 8), (4, 6), (5, 9), (1, 8), (3, 4, 5))


def discovered() -> list[Pyramid]:
    """Every pyramid there is, by its defaults."""
    discover()
    pending: list[type[Pyramid]] = [Pyramid]
    found: list[type[Pyramid]] = []
    while pending:
        below = pending.pop().__subclasses__()
        pending += below
        found += [cls for cls in below if not inspect.isabstract(cls) and cls.__module__.startswith("arlab.")]
    return [cls() for cls in sorted(found, key=lambda cls: cls.__name__)]


def name(pyramid: object) -> str:
    return type(pyramid).__name__


ALL = [*discovered(), *VARIANTS]
each = pytest.mark.parametrize("pyramid", ALL, ids=[f"{name(pyramid)}{number}" for number, pyramid in enumerate(ALL)])
on_every_grid = pytest.mark.parametrize("shape", GRIDS, ids=str)


def latent(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *shape, dtype=dtype)


def coarse(values: Tensor, level: int) -> Tensor:
    return (values * 2).round() / 2


def test_every_pyramid_is_found() -> None:
    assert {DepthPyramid, FrequencyPyramid, ScalePyramid} <= {type(pyramid) for pyramid in ALL}


@each
@on_every_grid
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-13), (torch.float32, 2e-5)])
def test_round_trip(pyramid: Pyramid, shape: tuple[int, ...], dtype: torch.dtype, error: float) -> None:
    z = latent(shape, dtype)
    levels = pyramid.split(z)
    assert tuple(tuple(level.shape[2:]) for level in levels) == pyramid.layout(shape).shapes
    assert pyramid.layout(shape).shapes[-1] == shape
    assert (pyramid.canvas(levels, shape) - z).abs().max() < error


@each
@on_every_grid
def test_contributions_are_the_canvas(pyramid: Pyramid, shape: tuple[int, ...]) -> None:
    levels = pyramid.split(latent(shape), coarse)
    for count in range(1, len(levels) + 1):
        parts = pyramid.contributions(levels[:count], shape)
        assert len(parts) == count
        torch.testing.assert_close(torch.stack(parts).sum(0), pyramid.canvas(levels[:count], shape))


@each
@on_every_grid
def test_the_last_level_makes_up_for_all_before(pyramid: Pyramid, shape: tuple[int, ...]) -> None:
    """Whatever was made of earlier levels, an unquantised last one gives the latent back."""
    z, last = latent(shape), len(pyramid.layout(shape).shapes) - 1

    def quantise(values: Tensor, level: int) -> Tensor:
        return values if level == last else coarse(values, level)

    def refine(whole: Tensor, level: int) -> Tensor:
        return whole if level == last else 0.7 * whole + 0.1

    levels = pyramid.split(z, quantise, refine)
    assert (pyramid.canvas(levels, shape, refine) - z).abs().max() < 1e-13
    if last > 0:
        assert not torch.allclose(pyramid.canvas(levels[:last], shape, refine), z)


@each
def test_what_a_level_fails_to_express_is_left_to_the_next(pyramid: Pyramid) -> None:
    z = latent((8, 8))
    plain, rounded = pyramid.split(z), pyramid.split(z, coarse)
    error = (pyramid.canvas(rounded, (8, 8)) - z).abs().max()
    assert 0 < error <= 0.25 + 1e-12  # of the last rounding alone
    if not pyramid.residual:
        assert all(torch.equal(one, coarse(other, 0)) for one, other in zip(rounded, plain, strict=True))


@each
@on_every_grid
def test_a_constant_is_all_in_the_first_level(pyramid: Pyramid, shape: tuple[int, ...]) -> None:
    z = torch.full((1, 1, *shape), 3.0, dtype=torch.float64)
    levels = pyramid.split(z)
    torch.testing.assert_close(levels[0], torch.full_like(levels[0], 3.0))
    for count in range(1, len(levels) + 1):
        torch.testing.assert_close(pyramid.canvas(levels[:count], shape), z)


@each
def test_each_level_brings_the_canvas_nearer(pyramid: Pyramid) -> None:
    z = latent((16, 16))
    levels = pyramid.split(z)
    errors = [float((pyramid.canvas(levels[: n + 1], (16, 16)) - z).norm()) for n in range(len(levels))]
    assert all(after <= before + 1e-12 for before, after in pairwise(errors))


@each
def test_it_is_rebuilt_from_its_record(pyramid: Pyramid) -> None:
    rebuilt = from_spec(pyramid.spec(), Pyramid)
    assert rebuilt.spec() == pyramid.spec()
    z = latent((4, 6))
    assert all(torch.equal(a, b) for a, b in zip(pyramid.split(z), rebuilt.split(z), strict=True))


@pytest.mark.parametrize("make", [FrequencyPyramid, lambda: FrequencyPyramid(transform=FFT())])
def test_what_inference_mode_prepared_serves_training(make: Callable[[], Pyramid]) -> None:
    shape = (6, 11)
    pyramid = make()
    with torch.inference_mode():
        pyramid.split(latent(shape))
    z = latent(shape).requires_grad_()
    sum(level.square().sum() for level in pyramid.split(z)).backward()
    assert z.grad is not None


def test_depths_hold_what_was_left_over() -> None:
    pyramid = DepthPyramid(depth=3)
    assert pyramid.layout((5,)).shapes == ((5,),) * 3
    z = latent((5,))
    first, second, third = pyramid.split(z, coarse)
    assert torch.equal(first, coarse(z, 0))
    assert torch.equal(second, coarse(z - first, 1))
    assert torch.equal(third, coarse(z - first - second, 2))


@pytest.mark.parametrize("depth", [0, -1, 10**12])
def test_impossible_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=r"pyramid\.depth: must be from 1 to 1000, got"):
        DepthPyramid(depth=depth)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize(
    "pyramid", [ScalePyramid(patch_nums=[1, [1, 2], [2, 3], [3, 5]]), FrequencyPyramid()], ids=name
)
def test_an_ordering_follows_its_levels_with_its_canvas(
    law: Callable[[Subject], None], pyramid: Pyramid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Next-scale obeys every law with the pyramid's canvas in place of the toy tokenizer's."""
    layout = pyramid.layout((3, 5))

    def canvas(self: ToyTokenizer, tokens: Tensor, level: int) -> Tensor:
        below = [
            tokens[:, layout.tokens(number)].transpose(1, 2).unflatten(-1, layout.shapes[number])
            for number in range(level)
        ]
        return pyramid.canvas(below, (3, 5)) if below else tokens.new_zeros(len(tokens), tokens.shape[-1], 3, 5)

    monkeypatch.setattr(ToyTokenizer, "canvas", canvas)
    law(Subject(NextScale(), layout))
