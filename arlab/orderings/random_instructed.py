"""Random prediction by instructions: a slot on the place of a token asks for it, and the token follows.

Letters: B batch, N tokens, n tokens of a step, P condition slots, S slots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import torch
from torch import Tensor

from arlab.orderings.ordering import (
    Drawn,
    Ordering,
    Prefix,
    Scored,
    Visibility,
    causal,
    condition_slots,
    single_grid,
    slots,
)
from arlab.orderings.orders import Order, RandomOrder
from arlab.orderings.set_sizes import CosineSizes, SetSizes
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.pyramids.pyramid import Pyramid
from arlab.rng import Rng


class RandomInstructed(Ordering):
    """Tokens in a drawn order, each asked for by an instruction in front of it, in decoding several at a time.

        trained:  [condition, p(o₁), x(o₁), p(o₂), x(o₂), ..., p(o_N)]      p, an instruction, predicts what follows it

    An instruction is a learned vector on the place of the token (its place embedding and rotation tell it apart from
    others; published: ``InstructionPlaces``). A slot sees those before it. Decoding asks for the n tokens of a step at
    once; of these instructions the first stays, the others are fed again in the next step, each in front of its token.
    So the cache ends up as trained; but an instruction that is not the first of its step sees instructions whose tokens
    are not known yet, which training never shows: the price of fewer steps, and none with one token a step.

    RandAR: Decoder-only Autoregressive Visual Generation in Random Orders, arXiv 2412.01827.

    Args:
        order: of decoding; drawn by default. Training always draws.
        set_sizes: how many tokens each step of decoding draws; by default RandAR's 88 steps, on grids of fewer tokens
            one a step.
    """

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})
    static = False

    def __init__(self, *, order: Order | None = None, set_sizes: SetSizes | None = None) -> None:
        self.order = RandomOrder() if order is None else order
        self.set_sizes = CosineSizes(num_steps=88) if set_sizes is None else set_sizes

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        single_grid(layout, type(self).__name__)
        self.order.refuse(layout)

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...]:
        return ((0,) * layout.num_axes,)

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 1

    def visibility(self, layout: Layout) -> Visibility:
        return Visibility.CAUSAL

    def see(self, query: Slots, key: Slots) -> Tensor:
        return causal(query, key)

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Generator[Step, Drawn | None, None]:
        self.refuse(layout, None)
        counts = self.set_sizes.counts(layout.num_tokens)
        groups = self.order.tokens(layout, rng).split(counts, dim=-1)
        known = 0
        for number, group in enumerate(groups):
            ahead = _answered(groups[number - 1], number) if number else condition_slots(prefix)
            asked = slots(Kind.LEARNED, torch.zeros(counts[number], dtype=torch.long), group, number, first=len(ahead))
            asked = dataclasses.replace(asked, keep=torch.arange(len(asked)) == 0)
            read = Read.own(group, torch.arange(len(ahead), len(ahead) + len(asked)))
            progress = Progress(number, len(groups), known, known + counts[number], layout.num_tokens)
            yield Step(Slots.cat([ahead, asked]), read, progress)
            known += counts[number]

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        self.refuse(layout, None)
        return _pass(rng.permutation(layout.num_tokens), prefix)

    def scored(self, layout: Layout, prefix: Prefix, rng: Rng) -> Scored:
        """The pass one by one in the order of decoding; where that is drawn, one draw of it."""
        self.refuse(layout, None)
        return Scored(_pass(self.order.tokens(layout, rng), prefix), exact=not self.order.drawn)


def _answered(token: Tensor, step: int) -> Slots:
    """What the step before asked for, [B,] n tokens, each but the first behind its instruction again."""
    at = token.repeat_interleave(2, dim=-1)[..., 1:]
    order = torch.arange(at.shape[-1])
    asks = order % 2 == 1
    source, kind = torch.where(asks, 0, at), torch.where(asks, int(Kind.LEARNED), int(Kind.TOKEN))
    return Slots(kind, source, at, torch.full_like(order, step), order, torch.ones_like(asks))


def _pass(token: Tensor, prefix: Prefix) -> Step:
    """The whole pass over tokens [B,] N in order, one by one: every instruction stays."""
    at = token.repeat_interleave(2, dim=-1)[..., :-1]
    rank = torch.arange(at.shape[-1])
    asks = rank % 2 == 0
    order = torch.where(asks, 1, 0)
    order[0] = prefix.length
    source, kind = torch.where(asks, 0, at), torch.where(asks, int(Kind.LEARNED), int(Kind.TOKEN))
    asked = Slots(kind, source, at, (rank + 1) // 2, order, torch.ones_like(asks))
    fed = Slots.cat([condition_slots(prefix), asked])
    return Step(fed, Read.own(token, prefix.length + rank[asks]))
