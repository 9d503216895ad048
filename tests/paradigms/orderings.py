"""MAR, RandAR and xAR, reduced to slots and reads."""

from __future__ import annotations

import math
from collections.abc import Generator

import torch
from torch import Tensor

from arlab.orderings.ordering import (
    Drawn,
    Ordering,
    Prefix,
    Visibility,
    causal,
    condition_slots,
    slots,
)
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.rng import Rng

Steps = Generator[Step, Drawn | None, None]


class MaskedSets(Ordering):
    """MAR (arXiv 2406.11838): everything is fed every step, mask vectors predict a drawn set, nothing is kept."""

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})
    static = False
    exact = False

    def __init__(self, *, num_steps: int = 3) -> None:
        self.num_steps = num_steps

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...]:
        return ((0, 0),)

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 1

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        order_BN, total, known = rng.permutation(layout.num_tokens), layout.num_tokens, 0
        for number in range(self.num_steps):
            masked = math.floor(total * math.cos(math.pi / 2 * (number + 1) / self.num_steps))
            masked = max(0 if number == self.num_steps - 1 else 1, min(masked, total - known - 1))
            progress = Progress(number, self.num_steps, known, total - masked, total)
            yield self._step(prefix, order_BN, known, total - masked, number, progress)
            known = total - masked

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        order_BN = rng.permutation(layout.num_tokens)
        known = int(rng.uniform()[0] * 0.3 * layout.num_tokens)
        return self._step(prefix, order_BN, known, layout.num_tokens, 0, None)

    def _step(
        self, prefix: Prefix, order_BN: Tensor, known: int, drawn: int, step: int, progress: Progress | None
    ) -> Step:
        seen_BK, hidden_BK = order_BN[:, :known], order_BN[:, known:]
        mask = slots(Kind.LEARNED, torch.zeros_like(hidden_BK[0]), hidden_BK, step, first=prefix.length + known)
        parts = [condition_slots(prefix), slots(Kind.TOKEN, seen_BK, seen_BK, step, first=prefix.length), mask]
        fed = Slots.cat([part for part in parts if len(part)])
        nothing = torch.zeros_like(fed.keep)
        fed = Slots(fed.kind, fed.source, fed.at, torch.full_like(fed.step, step), fed.order, nothing)
        first = prefix.length + known
        return Step(fed, Read.own(order_BN[:, known:drawn], torch.arange(first, first + drawn - known)), progress)


class InstructedRandom(Ordering):
    """RandAR (arXiv 2412.01827): a position instruction asks for a token, which then follows it; causal.

    Several tokens a step: all their instructions are asked at once, and all but the first are fed again next step,
    interleaved with the tokens they asked for.
    """

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})
    static = False

    def __init__(self, *, tokens_per_step: int = 1, counts: tuple[int, ...] = ()) -> None:
        self.tokens_per_step = tokens_per_step
        self.counts = counts

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...]:
        return ((0, 0),)

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 1

    def visibility(self, layout: Layout) -> Visibility:
        return Visibility.CAUSAL

    def see(self, query: Slots, key: Slots) -> Tensor:
        return causal(query, key)

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        size = list(self.counts) or self.tokens_per_step
        groups = rng.permutation(layout.num_tokens).split(size, dim=1)
        known = 0
        for number, group_Bn in enumerate(groups):
            parts = [condition_slots(prefix)] if number == 0 else []
            for index, token_B in enumerate(groups[number - 1].unbind(1) if number else ()):
                first = 2 * index
                if index:
                    parts.append(self._ask(token_B[:, None], number, first - 1))
                parts.append(slots(Kind.TOKEN, token_B[:, None], token_B[:, None], number, first=first))
            start = sum(map(len, parts))
            ask = self._ask(group_Bn, number, start, stay=1)
            read = Read.own(group_Bn, torch.arange(start, start + group_Bn.shape[1]))
            drawn = known + group_Bn.shape[1]
            yield Step(Slots.cat([*parts, ask]), read, Progress(number, len(groups), known, drawn, layout.num_tokens))
            known = drawn

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        # Fed one by one every instruction stays: [class, p_0, x_0, p_1, x_1, ...].
        one = InstructedRandom(tokens_per_step=1)
        return Step.cat(list(one.steps(layout, prefix, rng)))

    def _ask(self, token_Bn: Tensor, step: int, first: int, stay: int | None = None) -> Slots:
        count = token_Bn.shape[1]
        asked = slots(Kind.LEARNED, torch.zeros(count, dtype=torch.long), token_Bn, step, first=first)
        keep = torch.arange(count) < (count if stay is None else stay)
        return Slots(asked.kind, asked.source, asked.at, asked.step, asked.order, keep)


class CellByCell(Ordering):
    """xAR (arXiv 2502.20388): noised cells predict their own velocity and see the cells before them.

    In training each cell is noised at a time of its own; in decoding the cells before are clean.
    """

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.NOISY})

    def __init__(self, *, cell: tuple[int, int] = (2, 2)) -> None:
        self.cell = cell

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...]:
        return ((0, 0),)

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        cells, known = self._cells(layout), 0
        for number, token in enumerate(cells):
            parts = [condition_slots(prefix)] if number == 0 and prefix.length else []
            if number:
                # A clean cell comes after its own noised copies, which do not stay, and before the next cell.
                parts.append(slots(Kind.TOKEN, cells[number - 1], cells[number - 1], 2 * number - 1))
            start = sum(map(len, parts))
            parts.append(slots(Kind.NOISY, token, token, 2 * number, keep=False))
            read = Read.own(token, torch.arange(start, start + len(token)))
            progress = Progress(number, len(cells), known, known + len(token), layout.num_tokens)
            yield Step(Slots.cat(parts), read, progress)
            known += len(token)

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        cells = self._cells(layout)
        noised = [slots(Kind.NOISY, token, token, number) for number, token in enumerate(cells)]
        token = torch.cat(cells)
        fed = Slots.cat([condition_slots(prefix), *noised] if prefix.length else noised)
        return Step(fed, Read.own(token, torch.arange(prefix.length, prefix.length + len(token))))

    def _cells(self, layout: Layout) -> list[Tensor]:
        place = layout.cell_NA // torch.tensor(self.cell)
        number = place[:, 0] * (int(place[:, 1].max()) + 1) + place[:, 1]
        return [(number == cell).nonzero()[:, 0] for cell in range(int(number.max()) + 1)]
