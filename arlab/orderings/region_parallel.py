"""Region-parallel prediction: one token of every region of the grid at a time.

Letters: N tokens, R regions, G tokens of a region, P condition slots, A axes.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor

from arlab.orderings.ordering import Drawn, Ordering, Prefix, condition_slots, single_grid, slots
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.pyramids.pyramid import Pyramid
from arlab.rng import Rng

_MOST_TRIED = 1000


class RegionParallel(Ordering):
    """The first token of every region one by one, then in each step the next one of all R regions at once.

        fed:       [condition, t₁, ..., t_(R-1), | t_R, s₁, ..., s_(R-1), | t_(R+1), ..., t_2R, | ...]
        predicts:  [   t₁    , t₂, ..., t_R    , | t_(R+1), ...,    t_2R, | t_(2R+1), ..., t_3R, | ...]

    Tokens t go through the places inside a region row by row, at each place through the regions row by row; a slot
    predicts the next token of its own region. Between the two phases R - 1 learned vectors s, standing nowhere, ask for
    the second token of all regions but the first. A slot sees its own step and all before: R + (N - R) / R steps.

    Parallelized Autoregressive Visual Generation (PAR), arXiv 2412.15119.

    Args:
        regions: regions along each axis, that divide the grid, [2, 2] is PAR-4x, [4, 4] PAR-16x; null makes two along
            each axis of even length, and where there is none goes row by row.
    """

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})

    def __init__(self, *, regions: tuple[int, ...] | None = None) -> None:
        if regions is not None and (not regions or min(regions) < 1):
            raise ValueError(f"ordering.regions: expected one number of at least 1 per axis, got {list(regions)}")
        self.regions = None if regions is None else tuple(regions)

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        grid, regions = single_grid(layout, type(self).__name__), self._regions(layout)
        if len(regions) != len(grid) or any(side % count for side, count in zip(grid, regions, strict=True)):
            choices = "; ".join(f"{_divisors(side)} along {side}" for side in grid)
            raise ValueError(
                f"ordering.regions: {list(regions)} do not divide the grid {layout}; choose for each axis one of "
                f"{choices}"
            )

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        regions = math.prod(self._regions(layout))
        return (regions - 1) * (regions < layout.num_tokens) + (prefix.length == 0)

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Generator[Step, Drawn | None, None]:
        groups_GR = self._groups(layout)
        total, regions = layout.num_tokens, groups_GR.shape[1]
        steps = regions + len(groups_GR) - 1
        for number in range(steps):
            row, known = max(0, number - regions + 1), min(number, regions) + regions * max(0, number - regions)
            token = groups_GR[0, number : number + 1] if row == 0 else groups_GR[row]
            if number == 0:
                special = torch.tensor([self.num_learned(layout, prefix) - 1])
                start = slots(Kind.LEARNED, special, torch.tensor([-1]), 0)
                fed = condition_slots(prefix) if prefix.length else start
            elif row == 0:
                before = groups_GR[0, number - 1 : number]
                fed = slots(Kind.TOKEN, before, before, number)
            elif row == 1:
                last, special = groups_GR[0, -1:], torch.arange(regions - 1)
                ask = slots(Kind.LEARNED, special, torch.full_like(special, -1), number, first=1)
                fed = Slots.cat([slots(Kind.TOKEN, last, last, number), ask])
            else:
                fed = slots(Kind.TOKEN, groups_GR[row - 1], groups_GR[row - 1], number)
            read = Read.own(token, torch.arange(len(fed) - len(token), len(fed)))
            yield Step(fed, read, Progress(number, steps, known, known + len(token), total))

    def _regions(self, layout: Layout) -> tuple[int, ...]:
        if self.regions is not None:
            return self.regions
        return tuple(2 if side % 2 == 0 else 1 for side in layout.shapes[0])

    def _groups(self, layout: Layout) -> Tensor:
        """(G, R) the tokens at each place inside of a region."""
        self.refuse(layout, None)
        grid, regions = layout.shapes[0], self._regions(layout)
        inside = [side // count for side, count in zip(grid, regions, strict=True)]
        # Each axis is its regions times the places inside of one: (r₁, g₁, r₂, g₂, ...), places brought to the front.
        split = [size for pair in zip(regions, inside, strict=True) for size in pair]
        token = torch.arange(layout.num_tokens).view(split)
        axes = range(len(split))
        return token.permute(*axes[1::2], *axes[0::2]).reshape(math.prod(inside), math.prod(regions))


def _divisors(number: int) -> str:
    lower = range(1, min(math.isqrt(number), _MOST_TRIED) + 1)
    found = {each for low in lower if number % low == 0 for each in (low, number // low)}
    return ", ".join(map(str, sorted(found)))
