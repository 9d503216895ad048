"""The key-value cache: an object the sampler owns and passes in.

Letters: B batch, H heads, K key rows kept, S slots fed, E width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.orderings.step import Slots


class Cache:
    """Preallocated keys and values per layer, and the slot rows they belong to.

    A layer writes the rows of the step behind what is kept and attends to both; ``commit`` then lets go of the rows
    that do not stay. Rows of all layers agree unless a layer was pruned, or gets only some of the rows that are fed.

    Args:
        capacity: rows to allocate per layer; doubled where more are kept and fed at once.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = max(1, capacity)
        self._keys_BHKE: dict[int, Tensor] = {}
        self._values_BHKE: dict[int, Tensor] = {}
        self._kept: list[Slots] = []
        self._pruned: dict[int, list[Slots]] = {}
        self._some: dict[int, Tensor] = {}

    def rows(self, layer: int | None = None) -> Slots | None:
        """The slot rows kept so far, of all layers that were not pruned or of this one; None while there are none."""
        parts = self._kept if layer is None else self._pruned.get(layer, self._kept)
        if len(parts) > 1:
            parts[:] = [Slots.cat(parts)]
        return parts[0] if parts else None

    def length(self, layer: int = 0) -> int:
        """How many rows a layer keeps."""
        return sum(map(len, self._pruned.get(layer, self._kept)))

    def extend(
        self, layer: int, key_BHSE: Tensor, value_BHSE: Tensor, fed: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Write the rows of this step behind the kept ones and return all of them.

        Args:
            layer: which.
            key_BHSE: keys.
            value_BHSE: values.
            fed: which of the slots fed these rows are, as indices, for layers that never get some of them (a layer
                that gets any is called in every step, if with no rows); None = all.
        """
        if fed is not None:
            self._some[layer] = fed
            # From the first step on it has rows of its own.
            self._pruned.setdefault(layer, list(self._kept))
        start, stop = self.length(layer), self.length(layer) + key_BHSE.shape[2]
        while stop > self.capacity:
            self.capacity *= 2
        for tables, fed_BHSE in ((self._keys_BHKE, key_BHSE), (self._values_BHKE, value_BHSE)):
            if layer not in tables or tables[layer].shape[2] < stop:
                grown = fed_BHSE.new_empty(*fed_BHSE.shape[:2], self.capacity, fed_BHSE.shape[3])
                if layer in tables:
                    grown[:, :, :start] = tables[layer][:, :, :start]
                tables[layer] = grown
        self._keys_BHKE[layer][:, :, start:stop] = key_BHSE
        self._values_BHKE[layer][:, :, start:stop] = value_BHSE
        return self._keys_BHKE[layer][:, :, :stop], self._values_BHKE[layer][:, :, :stop]

    def commit(self, fed: Slots) -> None:
        """Keep of the rows just written those that stay, moved together where some do not."""
        some: dict[int, Slots] = {}
        for layer in self._keys_BHKE:
            given, rows = self._some.get(layer), fed
            if given is not None:
                # Layers of a stage are given the same rows.
                if id(given) not in some:
                    some[id(given)] = fed.select(given)
                rows = some[id(given)]
            if rows.staying is not None:
                start = self.length(layer)
                for table in (self._keys_BHKE[layer], self._values_BHKE[layer]):
                    table[:, :, start : start + len(rows.staying)] = table[:, :, start + rows.staying]
            if layer in self._pruned:
                _append(self._pruned[layer], rows)
        self._some.clear()
        _append(self._kept, fed)

    def truncate(self, length: int) -> None:
        """Forget every row from ``length`` on, in every layer.

        Raises:
            ValueError: a layer was pruned, so that its rows are no longer those of the others.
        """
        if self._pruned:
            raise ValueError("cache: truncate before pruning, not after")
        if self._kept:
            rows = Slots.cat(self._kept)
            staying = torch.arange(min(length, len(rows)), device=rows.kind.device)
            self._kept = [rows.select(staying)] if length else []

    def reorder(self, parents_B: Tensor) -> None:
        """Let sample b go on from sample ``parents_B[b]`` (the batch may shrink or grow)."""
        for tables in (self._keys_BHKE, self._values_BHKE):
            for layer, table in tables.items():
                tables[layer] = table[parents_B]
        for parts in (self._kept, *self._pruned.values()):
            parts[:] = [part.samples(parents_B) for part in parts]

    def prune(self, layer: int, index_K: Tensor) -> None:
        """Keep only these rows of one layer, in the order given.

        A pass has one mask for all layers, so this is for orderings whose decoding needs none (``Visibility.BY_STEP``).
        """
        rows = self.rows(layer)
        if rows is None:
            raise ValueError("cache: nothing to prune")
        for table in (self._keys_BHKE[layer], self._values_BHKE[layer]):
            table[:, :, : len(index_K)] = table[:, :, index_K]
        self._pruned[layer] = [rows.select(index_K)]


def _append(parts: list[Slots], rows: Slots) -> None:
    kept = rows if rows.staying is None else rows.select(rows.staying)
    if len(kept):
        parts.append(kept)
