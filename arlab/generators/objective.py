"""Training objectives: what a generator is trained to do on a batch of tokens.

Letters: B batch, N tokens of an image, M tokens predicted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from arlab.configurable import Configurable
from arlab.generators.feeding import gather
from arlab.rng import Rng

if TYPE_CHECKING:
    from arlab.generators.generator import Generator


@dataclass(frozen=True)
class ObjectiveLoss:
    """The result of an objective.

    Attributes:
        loss: the scalar that is minimised.
        per_token_BM: the head's loss for each predicted token, before weighting.
    """

    loss: Tensor
    per_token_BM: Tensor


class Objective(Configurable, ABC):
    """A training objective; it may run the generator as often as it likes."""

    @abstractmethod
    def loss(self, generator: Generator, tokens: Tensor, label: Tensor, rng: Rng) -> ObjectiveLoss:
        """The loss on tokens (B, N) or (B, N, C) under labels (B,)."""


class TeacherForcing(Objective):
    """Predict every token from the true tokens before it: the mean of the head's loss over the pass's reads."""

    def __init__(self) -> None:
        pass

    def loss(self, generator: Generator, tokens: Tensor, label: Tensor, rng: Rng) -> ObjectiveLoss:
        condition = generator.conditioner(generator.conditioner.drop(label, rng))
        step = generator.ordering.teacher(generator.layout, condition.prefix, rng, tokens.device)
        predict = generator.teacher_predict(step, tokens, condition)
        per_token_BM = generator.head.loss(predict, step, gather(tokens, step.read.token), rng)
        return ObjectiveLoss(per_token_BM.mean(), per_token_BM)
