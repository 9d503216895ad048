"""Frequency bands: their masks sum to one, they are orthogonal, and NFIG's own are mostly empty."""

from __future__ import annotations

import re
from itertools import accumulate

import pytest
import torch
from torch import Tensor

from arlab.pyramids.bands import BandShape, Radial, Square, band_masks
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.transforms import DCT, FFT, FrequencyTransform, cosines

VAR: list[int | list[int]] = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16]
GRIDS = ((9,), (16, 16), (4, 6), (5, 9), (3, 4, 5))


def nfigs_cutoffs(sigma_max: float) -> list[float]:
    """σ_l = σ_{l-1} + σ_max · h_l w_l / Σ h w in bins of a 16 x 16 latent, as fractions of its Nyquist frequency, 8."""
    cells = [side * side for side in VAR if isinstance(side, int)]
    return [sigma_max * total / sum(cells) / 8 for total in accumulate(cells)]


def counts(masks_LS: Tensor) -> list[int]:
    return masks_LS.flatten(1).sum(1).tolist()


@pytest.mark.parametrize("transform", [DCT(), FFT()], ids=lambda each: type(each).__name__)
def test_large_models_are_built_without_memory(transform: FrequencyTransform) -> None:
    with torch.device("meta"):
        FrequencyPyramid(transform=transform).layout((6, 10))
        cosines(11)
    assert not cosines(11).is_meta  # what is kept for one device serves the next


@pytest.mark.parametrize("transform", [DCT(), FFT()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("shape", [Square(), Radial()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_every_frequency_is_in_one_band(transform: FrequencyTransform, shape: BandShape, grid: tuple[int, ...]) -> None:
    masks_LS = FrequencyPyramid(shape=shape, transform=transform).masks(grid)
    assert torch.equal(masks_LS.sum(0), torch.ones(grid, dtype=torch.int64))
    assert min(counts(masks_LS)) > 0
    assert int(masks_LS[0].sum()) == 1  # one token, one frequency: the mean
    assert bool(masks_LS[0].flatten()[0])


@pytest.mark.parametrize("transform", [DCT(), FFT()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_bands_are_orthogonal(transform: FrequencyTransform, grid: tuple[int, ...]) -> None:
    pyramid = FrequencyPyramid(shape=Radial(), transform=transform)
    z = torch.randn(2, 3, *grid, dtype=torch.float64)
    shares = [pyramid.share(z, level) for level in range(len(pyramid.layout(grid).shapes))]
    parts = torch.stack([share.flatten(1) for share in shares if share is not None], 1)
    gram_BLL = parts @ parts.mT
    assert (gram_BLL - torch.diag_embed(gram_BLL.diagonal(dim1=1, dim2=2))).abs().max() < 1e-12
    torch.testing.assert_close(parts.sum(1), z.flatten(1))


@pytest.mark.parametrize("shape", [Square(), Radial()], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_cosine_bands_leave_nothing_over(shape: BandShape, grid: tuple[int, ...]) -> None:
    """A level's grid holds all of its band, so each level is its own share alone."""
    pyramid = FrequencyPyramid(shape=shape)
    z = torch.randn(2, 3, *grid, dtype=torch.float64)
    levels = pyramid.split(z)
    for number, part in enumerate(pyramid.contributions(levels, grid)):
        share = pyramid.share(z, number)
        assert share is not None
        assert (part - share).abs().max() < 1e-13
        if isinstance(shape, Square):
            # In units of cells of the latent, so that energies are comparable (Parseval).
            cells = z[0, 0].numel() / levels[number][0, 0].numel()
            torch.testing.assert_close(levels[number].square().sum() * cells, share.square().sum())


def test_fourier_bands_leave_something_to_the_next() -> None:
    pyramid = FrequencyPyramid(transform=FFT())
    z = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    share, part = pyramid.share(z, 1), pyramid.contributions(pyramid.split(z), (8, 8))[1]
    assert share is not None
    assert 0.01 < float((part - share).norm() / share.norm()) < 1


@pytest.mark.parametrize("cells", [1, 2, 5, 64])
def test_the_cosine_transform_is_orthonormal(cells: int) -> None:
    matrix = cosines(cells)
    assert (matrix @ matrix.T - torch.eye(cells)).abs().max() < 1e-14
    wave = torch.cos(torch.pi * (2 * torch.arange(cells) + 1) / (2 * cells))  # k = 1
    if cells > 1:
        assert (matrix @ wave.double()).abs().argmax() == 1


def test_a_coarser_grid_holds_the_same_wave() -> None:
    """The same cosine over the same interval, sampled more coarsely."""
    fine = torch.cos(torch.pi * (2 * torch.arange(12, dtype=torch.float64) + 1) * 2 / 24).view(1, 1, 12)
    rough = torch.cos(torch.pi * (2 * torch.arange(5, dtype=torch.float64) + 1) * 2 / 10).view(1, 1, 5)
    torch.testing.assert_close(DCT().down(fine, (5,)), rough)
    torch.testing.assert_close(DCT().up(rough, (12,)), fine)


def test_grids_decide_the_bands_where_no_cutoffs_are_given() -> None:
    masks_LS = FrequencyPyramid(bands=[1, 2, [3, 5], [4, 8]]).masks((4, 8))
    block = torch.zeros(4, 8, dtype=torch.bool)
    for level, (height, width) in enumerate(((1, 1), (1, 2), (3, 5), (4, 8))):
        block[:height, :width] = True
        assert torch.equal(masks_LS[: level + 1].any(0), block)
    assert counts(FrequencyPyramid(bands=VAR).masks((16, 16))) == [1, 3, 5, 7, 9, 11, 28, 36, 69, 87]
    fourier = FrequencyPyramid(bands=[1, 2, 4, 8, 16], transform=FFT())
    assert counts(fourier.masks((16, 16))) == [1, 8, 16, 56, 175]


@pytest.mark.parametrize(
    ("sigma_max", "held"),
    [(8 * 2**0.5, [1, 0, 0, 0, 0, 8, 12, 40, 88, 107]), (8.0, [1, 0, 0, 0, 0, 4, 4, 16, 44, 187])],
)
def test_most_of_nfigs_coarse_bands_are_empty(sigma_max: float, held: list[int]) -> None:
    """Tokens of bands 2 to 5 have nothing to say but what quantisation of the mean left over."""
    f_AS = torch.stack(torch.meshgrid(*[FFT().frequencies(16)] * 2, indexing="ij"))
    edges_KA = torch.tensor(nfigs_cutoffs(sigma_max)[:-1], dtype=torch.float64)[:, None].expand(-1, 2)
    assert counts(band_masks(Radial(), f_AS, edges_KA)) == held


def test_an_empty_band_is_refused_by_name() -> None:
    pyramid = FrequencyPyramid(bands=VAR, cutoffs=nfigs_cutoffs(8 * 2**0.5), shape=Radial(), transform=FFT())
    told = (
        "pyramid.cutoffs: band 1 (2x2 tokens, between 0.00208 and 0.0104) holds no frequency of a 16x16 latent; "
        "move its edges apart or leave it out"
    )
    with pytest.raises(ValueError, match="^" + re.escape(told) + "$"):
        pyramid.layout((16, 16))
    with pytest.raises(ValueError, match=r"band 2 \(3x3 tokens, between 0.1875 and 0.25\)"):
        FrequencyPyramid(bands=VAR, transform=FFT()).layout((16, 16))
    with pytest.raises(ValueError, match=r"band 2 \(2x4 tokens, between \[0.5, 1\] and \[0.5, 1\]\)"):
        FrequencyPyramid(bands=[1, [2, 4], [2, 4], [4, 4]]).layout((4, 4))


def test_frequencies_in_no_band_are_refused() -> None:
    bands: list[int | list[int]] = [1, 4, 16]
    ring = FrequencyPyramid(bands=bands, cutoffs=[0.1, 0.4, 1.0], shape=Radial(), transform=FFT())
    with pytest.raises(ValueError, match=r"^pyramid\.cutoffs: the last is 1, so 61 frequencies of a 16x16 latent lie"):
        ring.layout((16, 16))
    wide = FrequencyPyramid(bands=bands, cutoffs=[0.1, 0.4, 1.4143], shape=Radial(), transform=FFT())
    assert counts(wide.masks((16, 16)))[0] == 1
    assert FrequencyPyramid(bands=bands, cutoffs=[0.1, 0.4, 1.0]).layout((16, 16)).num_tokens == 273


@pytest.mark.parametrize(
    ("cutoffs", "told"),
    [
        ([0.5], "expected one upper edge per band, 3, got 1"),
        ([0.2, 0.2, 1.0], "must increase from band to band"),
        ([0.0, 0.2, 1.0], "every edge must be a positive number"),
        ([0.1, float("nan"), 1.0], "every edge must be a positive number"),
        ([0.1, 0.2, float("inf")], "every edge must be a positive number"),
    ],
)
def test_impossible_cutoffs_are_refused(cutoffs: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape('pyramid.cutoffs: ' + told)}"):
        FrequencyPyramid(bands=[1, 2, 4], cutoffs=cutoffs)


def test_cutoffs_must_fit_the_halvings_they_stand_beside() -> None:
    with pytest.raises(ValueError, match=r"^pyramid\.cutoffs: expected one upper edge per band, 5, got 2"):
        FrequencyPyramid(cutoffs=[0.5, 1.0]).layout((16, 16))
    with pytest.raises(ValueError, match=r"^pyramid\.bands: the last level is \[2, 2\]"):
        FrequencyPyramid(bands=[1, 2]).layout((16, 16))
