"""The plugins in plugins/ obey the laws of what they are, and say what is true of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from arlab import plugins
from arlab.conformance.laws import LAWS, Subject
from arlab.discovery import named
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout
from arlab.plugins import registry
from arlab.pyramids.pyramid import Pyramid

FOLDER = Path(__file__).parents[1] / "plugins"
GRIDS = ((3, 3), (2, 3), (4, 2), (1, 5), (6, 1), (7,), (2, 3, 2))
LATENTS = ((1,), (7,), (16,), (8, 8), (4, 6), (5, 9), (1, 8), (3, 4, 5))


@pytest.fixture(autouse=True, scope="module")
def _loaded() -> Iterator[None]:
    """Loaded for these tests alone: others have classes of the same names."""
    before = dict(registry._LOADED)
    plugins.load_named([FOLDER])
    yield
    for module in registry._LOADED.keys() - before.keys():
        del registry._LOADED[module], sys.modules[module]


def test_all_of_them_load() -> None:
    loaded = {Path(path).stem for path in registry.paths().values()}
    assert loaded >= {path.stem for path in FOLDER.glob("*.py")} >= {"spiral", "haar"}
    assert plugins.left_out() == ""


# ---- the ordering


def spiral() -> Ordering:
    return named(["Spiral"], Ordering, "ordering")


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_spiral_obeys_the_laws(grid: tuple[int, ...], law: Callable[[Subject], None]) -> None:
    law(Subject(spiral(), Layout((grid,))))


def order(grid: tuple[int, ...]) -> list[int]:
    return [int(index) for group in spiral().groups(grid) for index in group]


def test_spiral_turns_from_the_centre_outwards() -> None:
    assert order((3, 3)) == [4, 0, 1, 2, 5, 8, 7, 6, 3]
    assert order((1, 5)) == [2, 3, 1, 4, 0]
    assert order((4,)) == [1, 2, 0, 3]
    cells = [divmod(index, 5) for index in order((5, 5))]
    assert all(max(abs(y - 2), abs(x - 2)) == (0 if n == 0 else 1 if n < 9 else 2) for n, (y, x) in enumerate(cells))
    # Inside a ring the next cell is a neighbour.
    for ring in (cells[1:9], cells[9:]):
        assert all(abs(y - v) + abs(x - u) == 1 for (y, x), (v, u) in pairwise(ring))


def test_spiral_is_short_and_the_one_in_the_documentation() -> None:
    text, page = (FOLDER / "spiral.py").read_text(), (FOLDER.parent / "docs/extending.md").read_text()
    assert len(text.splitlines()) < 30
    assert f"```python\n{text}```" in page
    assert len(page.splitlines()) <= 60


# ---- the pyramid


def haar(**options: Any) -> Pyramid:
    return named(["HaarPyramid", *(f"{key}={value}" for key, value in options.items())], Pyramid, "pyramid")


def latent(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(2, 3, *shape, dtype=torch.float64)


def coarse(values: Tensor, level: int) -> Tensor:
    return (values * 2).round() / 2


@pytest.mark.parametrize("options", [{}, {"levels": 2}], ids=str)
@pytest.mark.parametrize("shape", LATENTS, ids=str)
def test_haar_levels_put_back_give_the_latent(shape: tuple[int, ...], options: dict[str, int]) -> None:
    z, pyramid = latent(shape), haar(**options)
    levels = pyramid.split(z)
    assert tuple(tuple(level.shape[2:]) for level in levels) == pyramid.layout(shape).shapes
    assert pyramid.layout(shape).shapes[-1] == shape
    assert (pyramid.canvas(levels, shape) - z).abs().max() < 1e-13
    last = len(levels) - 1
    rounded = pyramid.split(z, lambda values, level: values if level == last else coarse(values, level))
    assert (pyramid.canvas(rounded, shape) - z).abs().max() < 1e-13


@pytest.mark.parametrize("shape", LATENTS, ids=str)
def test_haar_levels_are_orthogonal_and_their_energies_sum_to_the_latents(shape: tuple[int, ...]) -> None:
    z, pyramid = latent(shape), haar()
    parts = torch.stack(pyramid.contributions(pyramid.split(z), shape)).flatten(2)
    inner = torch.einsum("ibn,jbn->bij", parts, parts)
    torch.testing.assert_close(inner.diagonal(dim1=1, dim2=2).sum(-1), z.square().flatten(1).sum(-1))
    assert (inner - torch.diag_embed(inner.diagonal(dim1=1, dim2=2))).abs().max() < 1e-11


def test_haar_cells_are_means_over_nested_blocks() -> None:
    pyramid, z = haar(), latent((5, 7))
    assert pyramid.layout((5, 7)).shapes == ((1, 1), (2, 2), (3, 4), (5, 7))
    assert haar(levels=2).layout((5, 7)).shapes == ((3, 4), (5, 7))
    first, second, *_ = pyramid.split(z)
    torch.testing.assert_close(first[..., 0, 0], z.mean((-1, -2)))
    torch.testing.assert_close(second[..., 1, 1], z[..., 4:, 4:].mean((-1, -2)) - z.mean((-1, -2)))
    # On a power of two, by hand: the mean and what is left of the two halves.
    line = torch.tensor([1.0, 3.0, 5.0, 11.0]).view(1, 1, 4)
    assert [level.flatten().tolist() for level in pyramid.split(line)] == [[5], [-3, 3], [-1, 1, -3, 3]]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_next_scale_follows_it(law: Callable[[Subject], None]) -> None:
    ordering, layout = named(["NextScale"], Ordering, "ordering"), haar().layout((3, 5))
    ordering.refuse(layout, haar())
    law(Subject(ordering, layout))


@pytest.mark.parametrize("levels", [0, -1, 10**9])
def test_impossible_levels_are_refused(levels: int) -> None:
    with pytest.raises(ValueError, match=r"pyramid\.levels: must be from 1 to 64, got"):
        haar(levels=levels)
