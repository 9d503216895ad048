"""The one-method face of an ordering: orders of a single grid, given as groups of tokens."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Generator

import torch
from torch import Tensor

from arlab.orderings.ordering import (
    Drawn,
    Ordering,
    Prefix,
    Visibility,
    by_step,
    causal,
    condition_slots,
    single_grid,
    slots,
)
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.pyramids.pyramid import Pyramid
from arlab.rng import Rng


class Traversal(Ordering):
    """Visits the tokens of one grid group by group; a subclass only says which tokens form each group.

    Groups of one token are next-token prediction: a slot carries the token visited last and predicts the next.
    Larger groups are predicted in parallel: a learned query stands on the place of each token of the group, sees all
    tokens known so far and its fellow queries, and leaves the sequence once its token is drawn.

        class Spiral(Traversal):
            def groups(self, grid):                # (H, W) -> [tensor([7]), tensor([8]), ...], a partition of H * W
                ...
    """

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})

    @abstractmethod
    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        """One index tensor per step, together a partition of the grid's cells (row-major indices)."""

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        self._refuse_no_partition(self._groups(layout), layout)

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 1 if prefix.length == 0 or self._parallel(layout) else 0

    def visibility(self, layout: Layout) -> Visibility:
        return Visibility.RULE if self._parallel(layout) else Visibility.CAUSAL

    def see(self, query: Slots, key: Slots) -> Tensor:
        """Causal, but a query sees all queries of its step."""
        return causal(query, key) | (by_step(query, key) & (query.kind == Kind.LEARNED)[:, None])

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Generator[Step, Drawn | None, None]:
        groups = self._groups(layout)
        self._refuse_no_partition(groups, layout)
        parallel = self._parallel(layout)
        known = 0
        for number, group in enumerate(groups):
            if number == 0:
                nowhere = torch.tensor([-1])
                start = slots(Kind.LEARNED, torch.tensor([0]), nowhere, 0)
                fed = condition_slots(prefix) if prefix.length else start
            else:
                fed = slots(Kind.TOKEN, groups[number - 1], groups[number - 1], number)
            if parallel:
                query = slots(Kind.LEARNED, torch.zeros_like(group), group, number, first=len(fed), keep=False)
                read = Read.own(group, torch.arange(len(fed), len(fed) + len(group)))
                fed = Slots.cat([fed, query])
            else:
                read = Read.own(group, torch.tensor([len(fed) - 1]))
            progress = Progress(number, len(groups), known, known + len(group), layout.num_tokens)
            yield Step(fed, read, progress)
            known += len(group)

    def _groups(self, layout: Layout) -> list[Tensor]:
        grid = single_grid(layout, type(self).__name__)
        # A model may be built without memory, but its order has to be known.
        with torch.device("cpu"):
            return self.groups(grid)

    def _refuse_no_partition(self, groups: list[Tensor], layout: Layout) -> None:
        named = [cell for group in groups for cell in group.tolist()]
        if sorted(named) == list(range(layout.num_tokens)):
            return
        times = Counter(named)
        wrong = sorted((set(times) | set(range(layout.num_tokens))) - {cell for cell in times if times[cell] == 1})
        wrong = wrong or sorted(cell for cell in times if not 0 <= cell < layout.num_tokens)
        raise ValueError(
            f"ordering: {type(self).__name__}.groups must name each of the {layout.num_tokens} cells of the grid "
            f"{'x'.join(map(str, layout.shapes[0]))} once, but names cell {wrong[0]} {times[wrong[0]]} times"
        )

    def _parallel(self, layout: Layout) -> bool:
        return any(len(group) > 1 for group in self._groups(layout))
