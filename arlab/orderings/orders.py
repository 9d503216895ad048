"""Orders: permutations of the tokens of one grid, drawn or fixed.

Letters: B batch, N tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.orderings.step import Layout
from arlab.orderings.traversal import Traversal
from arlab.rng import Rng


class Order(Configurable, ABC):
    """Which token comes after which."""

    drawn: bool = False
    """Whether it is drawn anew for each sample."""

    def refuse(self, layout: Layout) -> None:
        """See that it has an order for this layout.

        Raises:
            ValueError: it has none.
        """

    @abstractmethod
    def tokens(self, layout: Layout, rng: Rng) -> Tensor:
        """[B,] N the tokens, first to last."""


class RandomOrder(Order):
    """A permutation of its own for each sample, uniformly drawn."""

    drawn = True

    def __init__(self) -> None:
        pass

    def tokens(self, layout: Layout, rng: Rng) -> Tensor:
        return rng.permutation(layout.num_tokens)


class Walk(Order):
    """The order in which a traversal visits the tokens, the same for all samples.

    Args:
        traversal: visits one token a step, e.g. Hilbert; null goes row by row.
    """

    def __init__(self, *, traversal: Traversal | None = None) -> None:
        self.traversal = traversal

    def refuse(self, layout: Layout) -> None:
        self._tokens(layout)

    def tokens(self, layout: Layout, rng: Rng) -> Tensor:
        return self._tokens(layout)

    def _tokens(self, layout: Layout) -> Tensor:
        # Walked once, not in every training step; a run has one layout.
        kept: dict[Layout, Tensor] = self.__dict__.setdefault("_kept", {})
        if layout not in kept:
            kept.clear()
            kept[layout] = self._walked(layout)
        return kept[layout]

    def _walked(self, layout: Layout) -> Tensor:
        # A model may be built without memory, but its order has to be known.
        with torch.device("cpu"):
            if self.traversal is None:
                return torch.arange(layout.num_tokens)
            self.traversal.refuse(layout, None)
            groups = self.traversal.groups(layout.shapes[0])
        if any(len(group) > 1 for group in groups):
            raise ValueError(
                f"ordering.order.traversal: {type(self.traversal).__name__} visits several tokens a step; choose one "
                "that visits them one by one, e.g. Hilbert"
            )
        return torch.cat(groups)
