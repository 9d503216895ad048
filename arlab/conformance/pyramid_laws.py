"""Laws of pyramids: what is split is put back, and every level is what it says.

Letters: B batch, C channels of a latent.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.conformance.law import Grid, LawBrokenError, rebuilt, shown
from arlab.pyramids.pyramid import Pyramid

_EXACT = 1e-10
_SINGLE = 1e-4
_RAISED = 1e-6


@dataclass(frozen=True)
class PyramidSubject:
    """A pyramid on latents of one shape.

    Attributes:
        pyramid: what is tested.
        grid: the shape of the latent.
        seed: of the latents.
    """

    pyramid: Pyramid
    grid: Grid
    seed: int = 0

    @property
    def component(self) -> Pyramid:
        """What is tested."""
        return self.pyramid

    @property
    def told(self) -> str:
        """Its levels on this grid."""
        return f"levels {' '.join(map(shown, self.pyramid.layout(self.grid).shapes))}"

    @property
    def num_levels(self) -> int:
        """How many levels there are."""
        return len(self.pyramid.layout(self.grid).shapes)

    def latent(self, dtype: torch.dtype = torch.float64, channels: int = 3) -> Tensor:
        """Random latents (2, channels, *grid)."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(2, channels, *self.grid, dtype=dtype, generator=generator)


def pyramid_cases(pyramid: Pyramid, grid: Grid) -> list[PyramidSubject]:
    """A pyramid on latents of this shape.

    Raises:
        ValueError: it refuses it.
    """
    pyramid.layout(grid)
    return [PyramidSubject(pyramid, grid)]


def levels(subject: PyramidSubject) -> None:
    """Levels do not shrink, the last lies on the latent's grid, and the maps of a split lie on the levels' grids."""
    shapes = subject.pyramid.layout(subject.grid).shapes
    if shapes[-1] != subject.grid:
        raise LawBrokenError(f"the last level is {shown(shapes[-1])}, the latent {shown(subject.grid)}")
    for number in range(1, len(shapes)):
        if any(side < before for side, before in zip(shapes[number], shapes[number - 1], strict=True)):
            raise LawBrokenError(
                f"level {number} is {shown(shapes[number])}, coarser than {shown(shapes[number - 1])} before"
            )
    z = subject.latent()
    split = subject.pyramid.split(z)
    for number, (level, grid) in enumerate(zip(split, shapes, strict=True)):
        if tuple(level.shape) != (*z.shape[:2], *grid):
            raise LawBrokenError(
                f"the map of level {number} is {shown(tuple(level.shape[2:]))}, its grid {shown(grid)}"
            )


def shares(subject: PyramidSubject) -> None:
    """In a residual pyramid the shares of all levels sum to the latent."""
    if not subject.pyramid.residual:
        return
    z = subject.latent()
    total = torch.zeros_like(z)
    for level in range(subject.num_levels):
        share = subject.pyramid.share(z, level)
        total = total if share is None else total + share
    error = _error(total, z)
    if error > _EXACT:
        raise LawBrokenError(
            f"the shares of its {subject.num_levels} levels sum to something {error:.1e} off the latent"
        )


def round_trip(subject: PyramidSubject) -> None:
    """All levels put back give the latent, whatever a tokenizer made of those before the last."""
    last = subject.num_levels - 1
    for dtype, most in ((torch.float64, _EXACT), (torch.float32, _SINGLE)):
        z = subject.latent(dtype)
        error = _error(subject.pyramid.canvas(subject.pyramid.split(z), subject.grid), z)
        if not error <= most:
            raise LawBrokenError(f"split and put back, a latent is {error:.1e} of its size off in {str(dtype)[6:]}")

    def quantise(values: Tensor, level: int) -> Tensor:
        return values if level == last else _rounded(values, level)

    def refine(whole: Tensor, level: int) -> Tensor:
        return whole if level == last else 0.7 * whole + 0.1

    z = subject.latent()
    error = _error(subject.pyramid.canvas(subject.pyramid.split(z, quantise, refine), subject.grid, refine), z)
    if not error <= _EXACT:
        raise LawBrokenError(
            f"with all levels but the last rounded, the latent is {error:.1e} of its size off: the last level does "
            "not make up for what the others failed to express"
        )


def contributions(subject: PyramidSubject) -> None:
    """What the first levels add to the canvas is the canvas, however many they are."""
    split = subject.pyramid.split(subject.latent(), _rounded)
    for count in range(1, len(split) + 1):
        parts = subject.pyramid.contributions(split[:count], subject.grid)
        canvas = subject.pyramid.canvas(split[:count], subject.grid)
        if len(parts) != count:
            raise LawBrokenError(f"{count} levels give {len(parts)} contributions")
        error = _error(torch.stack(parts).sum(0), canvas)
        if not error <= _EXACT:
            raise LawBrokenError(f"the contributions of {count} levels sum to something {error:.1e} off their canvas")


def nearer(subject: PyramidSubject) -> None:
    """The canvas of more levels is nearer to the latent, on average: a shorter one is coarser."""
    z = subject.latent(channels=64)
    split = subject.pyramid.split(z)
    before = float("inf")
    for count in range(1, len(split) + 1):
        error = _error(subject.pyramid.canvas(split[:count], subject.grid), z)
        if not error <= before * (1 + _RAISED) + _EXACT:
            raise LawBrokenError(
                f"level {count - 1} brings the canvas farther from the latent: {before:.3f} to {error:.3f}"
            )
        before = error


def images_apart(subject: PyramidSubject) -> None:
    """The levels of a latent do not depend on the other latents of its batch."""
    z = subject.latent()
    together, alone = subject.pyramid.split(z), subject.pyramid.split(z[1:])
    for number, (both, own) in enumerate(zip(together, alone, strict=True)):
        if not _error(both[1:], own) <= _EXACT:
            raise LawBrokenError(f"level {number} of latent 1 is another when it is split alone")


def gradients(subject: PyramidSubject) -> None:
    """Gradients reach the latent through its levels, so that an encoder can be trained."""
    z = subject.latent().requires_grad_()
    split = subject.pyramid.split(z)
    if not all(level.requires_grad for level in split[:1]):
        raise LawBrokenError("the first level has no gradient to the latent")
    torch.stack([level.square().sum() for level in split]).sum().backward()
    if z.grad is None or not bool(z.grad.isfinite().all()) or float(z.grad.abs().sum()) == 0:
        raise LawBrokenError("the gradient of the levels with respect to the latent is zero or not finite")


PYRAMID_LAWS = (levels, shares, round_trip, contributions, nearer, images_apart, gradients, rebuilt)
"""In the order in which an author wants to hear about them."""


def _rounded(values: Tensor, level: int) -> Tensor:
    """Stands for a codebook."""
    return (values * 2).round() / 2


def _error(one: Tensor, other: Tensor) -> float:
    """The difference in size, as a share of the other's."""
    return float((one - other).norm() / other.norm().clamp(min=1e-30))
