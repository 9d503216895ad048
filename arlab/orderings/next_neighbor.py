"""Next-neighbor prediction: from one corner outwards, all tokens at the same distance at once."""

from __future__ import annotations

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
from arlab.rng import Rng


class NextNeighbor(Ordering):
    """Every token predicts its neighbour along each axis; a token reached along several axes mixes the predictions.

    Step d draws the tokens whose coordinates sum to d, those at Manhattan distance d from the first one, from the slots
    of distance d - 1: Σ sides - axes + 1 steps, 2n - 1 of n x n tokens. There is one way out of the backbone per axis,
    the last axis (right) first; the head mixes what the ways say in its own terms, logits for a softmax:

        logits(r, c) = mean of right(h(r, c - 1)) and below(h(r - 1, c)), where these are; the first token's: of
        all ways of the last condition slot

    A slot sees all slots at its distance and nearer.

    Neighboring Autoregressive Modeling for Efficient Visual Generation (NAR), arXiv 2503.10696.

    Args:
        causal_condition: whether a condition slot sees only itself and those before it, as the words of NAR's texts;
            by default all of them.
    """

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})

    def __init__(self, *, causal_condition: bool = False) -> None:
        self.causal_condition = causal_condition

    def refuse(self, layout: Layout, pyramid: object) -> None:
        single_grid(layout, type(self).__name__)

    def num_ways(self, layout: Layout) -> int:
        return layout.num_axes

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...]:
        units = torch.eye(layout.num_axes, dtype=torch.long).flip(0)
        return tuple(tuple(unit) for unit in units.tolist())

    def visibility(self, layout: Layout) -> Visibility:
        return Visibility.RULE if self.causal_condition else Visibility.BY_STEP

    def see(self, query: Slots, key: Slots) -> Tensor:
        seen_QK = by_step(query, key)
        if not self.causal_condition:
            return seen_QK
        return torch.where((query.kind == Kind.COND)[:, None], causal(query, key), seen_QK)

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 0 if prefix.length else 1

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Generator[Step, Drawn | None, None]:
        self.refuse(layout, None)
        distance_N = layout.cell_NA.sum(-1)
        groups = [(distance_N == number).nonzero()[:, 0] for number in range(int(distance_N.max()) + 1)]
        known = 0
        for number, token in enumerate(groups):
            if number == 0:
                fed = _start(prefix)
                read = _read_all_ways(token, len(fed) - 1, layout.num_axes)
            else:
                before = groups[number - 1]
                fed = slots(Kind.TOKEN, before, before, number)
                read = _read_neighbours(token, before, layout)
            progress = Progress(number, len(groups), known, known + len(token), layout.num_tokens)
            yield Step(fed, read, progress)
            known += len(token)


def _start(prefix: Prefix) -> Slots:
    nowhere = torch.tensor([-1])
    return condition_slots(prefix) if prefix.length else slots(Kind.LEARNED, torch.tensor([0]), nowhere, 0)


def _read_all_ways(token: Tensor, slot: int, ways: int) -> Read:
    """One token, by all ways of one slot."""
    return Read(token, torch.full((1, ways), slot), torch.arange(ways)[None], torch.full((1, ways), 1 / ways))


def _read_neighbours(token: Tensor, before: Tensor, layout: Layout) -> Read:
    """Each token by its neighbours among the tokens fed, one way per axis, those there are weighing the same."""
    sides = torch.tensor(layout.finest)
    # Row-major: one further along an axis is as many tokens further as the axes after it hold.
    stride_A = torch.cat((sides[1:].flip(0).cumprod(0).flip(0), torch.ones(1, dtype=torch.long)))
    ways = torch.arange(layout.num_axes)
    stride_W, cell_MW = stride_A.flip(0), layout.cell_NA[token].flip(-1)
    exists_MW = cell_MW > 0
    slot_MW = torch.searchsorted(before, torch.where(exists_MW, token[:, None] - stride_W, before[0]))
    weight_MW = exists_MW / exists_MW.sum(-1, keepdim=True)
    return Read(token, slot_MW, ways.expand_as(slot_MW), weight_MW)
