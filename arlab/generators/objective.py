"""Training objectives: what a generator is trained to do on a batch of tokens.

Letters: B batch, N tokens of an image, M tokens predicted, C width of a token vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from arlab.configurable import Configurable
from arlab.generators.feeding import gather
from arlab.generators.level_weights import LevelWeights
from arlab.orderings.step import Layout
from arlab.rng import Rng

if TYPE_CHECKING:
    from arlab.generators.generator import Generator


class Objective(Configurable, ABC):
    """A training objective; it may run the generator as often as it likes."""

    @abstractmethod
    def loss(self, generator: Generator, tokens: Tensor, label: Tensor, rng: Rng, layout: Layout) -> Tensor:
        """The scalar to minimise, on tokens (B, N) or (B, N, C) of a layout under labels (B,)."""


class TeacherForcing(Objective):
    """Predict every token from the true tokens before it: the mean of the head's loss over the pass's reads.

    Args:
        level_weights: what the loss of a token counts by its level, where tokenizers have several; null counts all
            tokens the same.
    """

    def __init__(self, *, level_weights: LevelWeights | None = None) -> None:
        self.level_weights = level_weights

    def loss(self, generator: Generator, tokens: Tensor, label: Tensor, rng: Rng, layout: Layout) -> Tensor:
        condition = generator.conditioner(generator.conditioner.drop(label, rng))
        step = generator.ordering.teacher(layout, condition.prefix, rng, tokens.device, generator.trained)
        predict = generator.teacher_predict(step, tokens, condition, layout)
        loss_BM = generator.head.loss(predict, step, gather(tokens, step.read.token), rng)
        if self.level_weights is not None:
            loss_BM = loss_BM * self.level_weights.of_tokens(layout).to(loss_BM.device)[step.read.token]
        return loss_BM.mean()
