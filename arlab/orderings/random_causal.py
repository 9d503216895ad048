"""Random causal prediction: the token before in a drawn order predicts the next, whose place it is told.

Letters: B batch, N tokens, P condition slots, S slots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator

import torch
from torch import Tensor

from arlab.orderings.annealing import Annealing, LinearAnnealing
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
from arlab.orderings.orders import Order, Walk
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.pyramids.pyramid import Pyramid
from arlab.rng import Rng


class RandomCausal(Ordering):
    """One token a step in an order that training draws, at first always, in the end never.

        fed:       [start, condition, x(o₁), x(o₂), ...]       a learned vector, the condition, tokens in order o
        predicts:  [  -  ,    o₁    ,   o₂ ,   o₃ , ...]       each slot is told which, by ``Slots.target``

    A slot sees those before it. Since a slot stands on the place of what it carries, only its target says what is asked
    for: a backbone without ``TargetPlaces`` is refused. A model trained to the end of the annealing knows ``order``, in
    which it decodes, best.

    Randomized Autoregressive Visual Generation (RAR), arXiv 2411.00776.

    Args:
        order: what training comes down to, and how images are decoded; row by row by default.
        annealing: how often training draws an order instead.
    """

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})
    static = False
    tells_targets = True

    def __init__(self, *, order: Order | None = None, annealing: Annealing | None = None) -> None:
        self.order = Walk() if order is None else order
        self.annealing = LinearAnnealing() if annealing is None else annealing

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        single_grid(layout, type(self).__name__)
        self.order.refuse(layout)

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 1

    def visibility(self, layout: Layout) -> Visibility:
        return Visibility.CAUSAL

    def see(self, query: Slots, key: Slots) -> Tensor:
        return causal(query, key)

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Generator[Step, Drawn | None, None]:
        self.refuse(layout, None)
        whole, total = _pass(self.order.tokens(layout, rng), prefix), layout.num_tokens
        for number in range(total):
            first = prefix.length + number if number else 0
            fed = whole.feed.select(torch.arange(first, prefix.length + number + 1))
            read = Read.own(whole.read.token[..., number : number + 1], torch.tensor([len(fed) - 1]))
            yield Step(fed, read, Progress(number, total, number, number + 1, total))

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        self.refuse(layout, None)
        tokens, probability = self.order.tokens(layout, rng), self.annealing.probability(trained)
        if probability > 0:
            drawn_B1 = rng.uniform(1) < probability
            tokens = torch.where(drawn_B1, rng.permutation(layout.num_tokens), tokens)
        return _pass(tokens, prefix)

    def scored(self, layout: Layout, prefix: Prefix, rng: Rng) -> Scored:
        """The pass in the order of decoding; where that is drawn, one draw of it."""
        self.refuse(layout, None)
        return Scored(_pass(self.order.tokens(layout, rng), prefix), exact=not self.order.drawn)


def _pass(token: Tensor, prefix: Prefix) -> Step:
    """The whole pass over tokens [B,] N in order."""
    before, number = token[..., :-1], torch.arange(1, token.shape[-1])
    none, nowhere = torch.zeros_like(number), torch.full((prefix.length,), -1)
    condition = condition_slots(prefix)
    parts = (
        slots(Kind.LEARNED, torch.tensor([0]), torch.tensor([-1]), 0),
        dataclasses.replace(condition, order=condition.order + 1),
        Slots(none + Kind.TOKEN, before, before, number, none, none == 0),
    )
    target = torch.cat((nowhere.expand(*token.shape[:-1], -1), token), dim=-1)
    fed = dataclasses.replace(Slots.cat(parts), target=target)
    return Step(fed, Read.own(token, torch.arange(prefix.length, len(fed))))
