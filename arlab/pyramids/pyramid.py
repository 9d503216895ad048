"""The contract of a pyramid: how a latent map is split into levels, and put back. Shape only, nothing learned.

Letters: B batch, C channels of a latent, levels l with grids of their own; the finest grid is the latent's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.orderings.step import Layout

Quantise = Callable[[Tensor, int], Tensor]
"""What a tokenizer makes of a level before the next is taken: (level (B, C, *grid), its number) to the same shape."""
Refine = Callable[[Tensor, int], Tensor]
"""What a tokenizer makes of a level's share of the whole map: (map (B, C, *shape), its number) to the same shape."""


class Pyramid(Configurable, ABC):
    """Levels of a latent map: scales, frequency bands, depths.

    Multi-level tokenizers quantise along a pyramid, and the orderings of their tokens follow its levels.

    A residual pyramid takes each level from its own share of the latent and what the levels before it failed to
    express. Over all levels Σ share = latent, and the last one lies on the latent's own grid: nothing is left over.

        level_l = down(rest_{l-1} + share_l);  rest_l = rest_{l-1} + share_l - refine(up(q_l));
        canvas = Σ_l refine(up(q_l))

    In any other each level is the latent itself on the level's own grid, whatever the levels before it are.

        level_l = down(latent);  canvas = refine(up(q_l)) of the last level given

        layout = pyramid.layout((4, 6))                      # e.g. ((1, 1), (2, 3), (4, 6))
        levels = pyramid.split(z_BChw, quantise)             # one map per level, on its own grid
        z_BChw = pyramid.canvas(levels, (4, 6))              # the first levels alone give a coarser canvas
    """

    residual: bool = True
    """Whether the levels add up on the canvas; otherwise each stands for the whole latent."""

    @abstractmethod
    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Where the tokens of a latent of this shape lie; the last level's grid is the shape itself.

        Raises:
            ValueError: the levels do not fit the shape.
        """

    def at(self, layout: Layout) -> Pyramid:
        """A pyramid of the same kind with these levels, whatever the latent's shape.

        Raises:
            ValueError: its levels are what they are.
        """
        name = type(self).__name__
        raise ValueError(f"pyramid: the levels of a {name} cannot be exchanged for {layout.shapes}")

    @abstractmethod
    def down(self, rest: Tensor, level: int) -> Tensor:
        """A map of the latent's shape on the grid of a level."""

    @abstractmethod
    def up(self, values: Tensor, level: int, shape: tuple[int, ...]) -> Tensor:
        """A level's map on the latent's grid."""

    def share(self, z: Tensor, level: int) -> Tensor | None:
        """What of a latent enters at this level, (B, C, *shape); None for nothing. All shares sum to the latent."""
        return z if level == 0 else None

    def split(self, z: Tensor, quantise: Quantise | None = None, refine: Refine | None = None) -> list[Tensor]:
        """A latent map (B, C, *shape) to one map per level, (B, C, *grid), quantised on the way where asked.

        Each level is quantised once, and in a residual pyramid refined once, in order.
        """
        shape = tuple(z.shape[2:])
        rest = torch.zeros_like(z) if self.residual else z
        levels: list[Tensor] = []
        for level in range(len(self.layout(shape).shapes)):
            share = self.share(z, level) if self.residual else None
            rest = rest if share is None else rest + share
            values = self.down(rest, level)
            values = values if quantise is None else quantise(values, level)
            levels.append(values)
            if self.residual:
                rest = rest - self._placed(values, level, shape, refine)
        return levels

    def canvas(self, levels: Sequence[Tensor], shape: tuple[int, ...], refine: Refine | None = None) -> Tensor:
        """The given first levels put back on one map (B, C, *shape); all of them unquantised give the latent back.

        Zeros for no level at all are the caller's: there is nothing to take a batch size from.
        """
        if not self.residual:
            return self._placed(levels[-1], len(levels) - 1, shape, refine)
        total = self._placed(levels[0], 0, shape, refine)
        for level, values in enumerate(levels[1:], start=1):
            total = total + self._placed(values, level, shape, refine)
        return total

    def contributions(
        self, levels: Sequence[Tensor], shape: tuple[int, ...], refine: Refine | None = None
    ) -> list[Tensor]:
        """What each of the given first levels adds to the canvas, (B, C, *shape); together they are the canvas."""
        placed = [self._placed(values, level, shape, refine) for level, values in enumerate(levels)]
        if self.residual:
            return placed
        return [placed[0], *(after - before for before, after in pairwise(placed))]

    def _placed(self, values: Tensor, level: int, shape: tuple[int, ...], refine: Refine | None) -> Tensor:
        whole = self.up(values, level, shape)
        return whole if refine is None else refine(whole, level)
