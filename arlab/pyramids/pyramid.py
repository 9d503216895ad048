"""The contract of a pyramid: how a latent map is split into levels, and put back. Shape only, nothing learned.

Letters: B batch, C channels of a latent, levels l with grids of their own; the finest grid is the latent's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor

from arlab.configurable import Configurable
from arlab.orderings.step import Layout

Quantise = Callable[[Tensor, int], Tensor]
"""What a tokenizer makes of a level before the next is taken: (level (B, C, *grid), its number) to the same shape."""


class Pyramid(Configurable, ABC):
    """Levels of a latent map: scales, frequency bands, depths.

    Multi-level tokenizers quantise along a pyramid, and the orderings of their tokens follow its levels. A residual
    pyramid takes each level from what the quantised levels before it left over; any other takes all from the latent.

        layout = pyramid.layout((4, 6))                      # e.g. ((1, 1), (2, 3), (4, 6))
        levels = pyramid.split(z_BChw, quantise)             # one map per level, on its own grid
        z_BChw = pyramid.canvas(levels, (4, 6))              # the first levels alone give a coarser canvas
    """

    @abstractmethod
    def layout(self, shape: tuple[int, ...]) -> Layout:
        """Where the tokens of a latent of this shape lie.

        Raises:
            ValueError: the levels do not fit the shape.
        """

    @abstractmethod
    def split(self, z: Tensor, quantise: Quantise | None = None) -> list[Tensor]:
        """A latent map (B, C, *shape) to one map per level, (B, C, *grid), quantised on the way where asked."""

    @abstractmethod
    def canvas(self, levels: Sequence[Tensor], shape: tuple[int, ...]) -> Tensor:
        """The given first levels put back on one map (B, C, *shape); all of them unquantised give the latent back."""
