"""Next-block prediction: an image block by block, each out of noise, trained on a clean past."""

from __future__ import annotations

from arlab.orderings.entities import Entities
from arlab.orderings.noised_entities import NoisedEntities
from arlab.orderings.ordering import Prefix
from arlab.orderings.step import Layout, Step
from arlab.rng import Rng


class NextBlock(NoisedEntities):
    """Predict the next block at once: p(x) = Π_k p(X_k | X_<k, class), from plain diffusion to one token a step.

    Training feeds every block twice, in one pass: clean and noised. A clean block sees the clean ones up to itself, a
    noised one those before it and itself (skip-causal), which is what decoding feeds, laid end to end. Twice as many
    slots as ``NextX``, but what is trained is what is sampled. ACDiT modulates the noised copies alone: ``NoisedOnly``.

        NextBlock(entities=Cells(shape=[4, 4]))                  # ACDiT: blocks of 16 tokens
        NextBlock(entities=WholeImage())                         # plain diffusion, or flow
        NextBlock(entities=SingleTokens())                       # token by token

    ACDiT: Interpolating Autoregressive Conditional Modeling and Diffusion Transformer (ACDiT), arXiv 2412.07720.

    Args:
        entities: which tokens are drawn together; ``Cells``, two along each axis, where not given.
    """

    def __init__(self, *, entities: Entities | None = None) -> None:
        super().__init__(entities=entities)

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return Step.cat(list(self.steps(layout, prefix, rng)))
