"""The contract of a backbone: slot vectors in, one hidden vector per slot and way out.

Letters: B batch, S slots fed, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from arlab.backbones.attention import Mask
from arlab.backbones.cache import Cache
from arlab.backbones.modulation import Modulated
from arlab.configurable import Configurable
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout, Slots


class Backbone(nn.Module, Configurable, ABC):
    """The network between slots and heads.

    It is configured first and bound later, when ordering and tokenizer have told what it must carry.
    """

    width: int
    """D."""

    @property
    def any_layout(self) -> bool:
        """Whether it takes passes on other layouts than the one it was bound to."""
        return False

    @abstractmethod
    def bind(self, layout: Layout, num_condition: int, ways: int) -> None:
        """Create the weights: places of this layout, ``num_condition`` condition slots, ``ways`` outputs.

        Raises:
            ValueError: the configuration cannot carry them.
        """

    @property
    @abstractmethod
    def modulates(self) -> bool:
        """Whether the condition's vector has an effect, beside condition slots."""

    @property
    def modulates_by_row(self) -> bool:
        """Whether what modulates a slot also depends on its columns, so that it is worked out for each pass."""
        return False

    def refuse(self, ordering: Ordering, layout: Layout) -> None:
        """See that it can carry the slots of an ordering on this layout.

        Raises:
            ValueError: it cannot; the message names what goes together.
        """

    @abstractmethod
    def modulate(self, condition_BSD: Tensor, rows: Slots | None = None) -> Modulated:
        """Work a condition out for every layer; the result serves any number of passes over such slots.

        Args:
            condition_BSD: (B, 1, D), or per slot (B, S, D).
            rows: the slots; None where the same holds for all of them.
        """

    @abstractmethod
    def forward(
        self,
        h_BSD: Tensor,
        rows: Slots,
        mask: Mask,
        modulated: Modulated,
        layout: Layout,
        cache: Cache | None = None,
    ) -> tuple[Tensor, ...]:
        """One pass over the slots fed.

        Args:
            h_BSD: what the slots carry.
            rows: their columns.
            mask: who sees whom among the rows kept in the cache and fed.
            modulated: the condition.
            layout: where the tokens lie, if the weights allow another than they were made for.
            cache: written, not committed: the caller decides what stays.

        Returns:
            One (B, S, D) tensor per way, normalised and ready for a head.

        Raises:
            ValueError: its places know one layout only, and this is another.
        """
