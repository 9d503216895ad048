"""Frequency transforms of latent maps, and how their bands are brought to coarser grids and back.

Letters: B batch, C channels of a latent, n cells along an axis, k a frequency's number, S sides.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.pyramids.interpolation import Bicubic, Interpolation, area


class FrequencyTransform(Configurable, ABC):
    """What frequencies a map has, and what a coarser grid can express of them."""

    @abstractmethod
    def frequencies(self, cells: int) -> Tensor:
        """Of each coefficient along an axis, as a fraction of the Nyquist frequency: (cells,) float64 in [0, 1]."""

    @abstractmethod
    def expressed(self, cells: int, of: int) -> float:
        """The frequency below which a grid of ``cells`` expresses an axis of ``of`` cells."""

    @abstractmethod
    def band(self, z: Tensor, mask: Tensor) -> Tensor:
        """The part of a map (B, C, *S) whose coefficients are in a mask (*S)."""

    @abstractmethod
    def down(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A map on a coarser grid; a constant stays constant."""

    @abstractmethod
    def up(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """A map on a finer grid; a constant stays constant."""


class DCT(FrequencyTransform):
    """The orthonormal cosine transform of type II, along every axis.

    Z = D z;  D_kn = √(2/N) cos(π (2n + 1) k / 2N), for k = 0 by √(1/N);  frequency k / N

    A coarser grid of n cells keeps exactly the coefficients k < n, so what a band holds inside them is neither lost nor
    left over.
    """

    def __init__(self) -> None:
        pass

    def frequencies(self, cells: int) -> Tensor:
        return torch.arange(cells, dtype=torch.float64, device="cpu") / cells

    def expressed(self, cells: int, of: int) -> float:
        return cells / of

    def band(self, z: Tensor, mask: Tensor) -> Tensor:
        forward = [cosines(side, z.dtype, z.device) for side in z.shape[2:]]
        return _along_axes(_along_axes(z, forward) * mask, [matrix.T for matrix in forward])

    def down(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self._resized(values, shape)

    def up(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self._resized(values, shape)

    def _resized(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Coefficients cropped or padded with zeros; both grids' constants have the same value."""
        if tuple(values.shape[2:]) == shape:
            return values
        sides = zip(values.shape[2:], shape, strict=True)
        return _along_axes(values, [_resizing(before, after, values.dtype, values.device) for before, after in sides])


class FFT(FrequencyTransform):
    """The Fourier transform, along every axis, as in NFIG.

    frequency |k| / (N/2), k from -N/2 to N/2. A grid of n cells expresses |k| <= n/2, its own Nyquist frequency
    included; between grids, area averages go down and an interpolation goes up, so part of a band is left over.

    Args:
        interpolation: from a coarser grid to the latent's.
    """

    def __init__(self, *, interpolation: Interpolation | None = None) -> None:
        self.interpolation = Bicubic() if interpolation is None else interpolation

    def frequencies(self, cells: int) -> Tensor:
        f: Tensor = torch.fft.fftfreq(cells, dtype=torch.float64, device="cpu")
        return f.abs() * 2

    def expressed(self, cells: int, of: int) -> float:
        # Above the largest |k| <= n/2 and at most at the one that follows.
        return (cells + 1) / of

    def band(self, z: Tensor, mask: Tensor) -> Tensor:
        axes = tuple(range(2, z.dim()))
        # The mask depends on |k| alone, so the result is real.
        band: Tensor = torch.fft.ifftn(torch.fft.fftn(z, dim=axes) * mask, dim=axes).real
        return band

    def down(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        return area(values, shape)

    def up(self, values: Tensor, shape: tuple[int, ...]) -> Tensor:
        return self.interpolation(values, shape)


@functools.cache
@torch.inference_mode(False)  # what is made in inference mode could not be used in training
def cosines(cells: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """D, (cells, cells): the rows are orthonormal."""
    # On the CPU, whatever the default device: what is kept here serves all.
    place = torch.arange(cells, device="cpu")
    # The angle is a whole number of 1/4n turns; without whole turns its cosine is exact to the last digits.
    turns = (2 * place + 1) * place[:, None] % (4 * cells)
    matrix = torch.cos(math.pi / (2 * cells) * turns.double()) * math.sqrt(2 / cells)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


@functools.cache
@torch.inference_mode(False)
def _resizing(before: int, after: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """From ``before`` cells to ``after``, (after, before)."""
    kept = min(before, after)
    matrix: Tensor = math.sqrt(after / before) * cosines(after)[:kept].T @ cosines(before)[:kept]
    return matrix.to(device, dtype)


def _along_axes(values: Tensor, matrices: list[Tensor]) -> Tensor:
    """Each axis of a map (B, C, *S) times a matrix (to, from) of its own."""
    for axis, matrix in enumerate(matrices, start=2):
        values = (values.movedim(axis, -1) @ matrix.T).movedim(-1, axis)
    return values
