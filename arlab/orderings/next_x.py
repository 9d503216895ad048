"""Next-X prediction: an image entity by entity, each out of noise, trained on a noised past."""

from __future__ import annotations

import torch

from arlab.orderings.entities import Entities
from arlab.orderings.noised_entities import NoisedEntities
from arlab.orderings.ordering import Prefix, Scored, condition_slots, slots
from arlab.orderings.step import Kind, Layout, Read, Slots, Step
from arlab.rng import Rng


class NextX(NoisedEntities):
    """Predict the next entity X at once: p(x) = Π_k p(X_k | X_<k, class), where X is a cell, a subsample, a scale...

    Training feeds every entity noised, each to a time of its own, and lets it see the noised ones before it (noisy
    context learning), so that errors of decoding, where those before are clean, are not news to it. Half as many slots
    as ``NextBlock``.

        NextX()                                                  # xAR: four cells, two along each axis
        NextX(entities=Cells(shape=[8, 8]))
        NextX(entities=EachScale())                              # on tokens of one level, split coarse to fine

    What is trained is no factorisation of p(x); how likely tokens are is asked of a pass over clean entities.

    Beyond Next-Token: Next-X Prediction for Autoregressive Visual Generation (xAR), arXiv 2502.20388.

    Args:
        entities: which tokens are drawn together; ``Cells``, two along each axis, where not given.
    """

    exact = False

    def __init__(self, *, entities: Entities | None = None) -> None:
        super().__init__(entities=entities)

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        entities = self.split(layout)
        noised = [slots(Kind.NOISY, token, token, 2 * number + 1) for number, token in enumerate(entities)]
        token = torch.cat(entities)
        fed = Slots.cat([condition_slots(prefix), *noised] if prefix.length else noised)
        return Step(fed, Read.own(token, torch.arange(prefix.length, prefix.length + len(token))))

    def scored(self, layout: Layout, prefix: Prefix, rng: Rng) -> Scored:
        return Scored(Step.cat(list(self.steps(layout, prefix, rng))))
