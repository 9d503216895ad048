"""Training objectives: what a generator is trained to do on a batch of tokens.

Letters: B batch, N tokens of an image, C width of a token vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from arlab.configurable import Configurable
from arlab.generators.feeding import gather
from arlab.rng import Rng

if TYPE_CHECKING:
    from arlab.generators.generator import Generator


class Objective(Configurable, ABC):
    """A training objective; it may run the generator as often as it likes."""

    @abstractmethod
    def loss(self, generator: Generator, tokens: Tensor, label: Tensor, rng: Rng) -> Tensor:
        """The scalar to minimise, on tokens (B, N) or (B, N, C) under labels (B,)."""


class TeacherForcing(Objective):
    """Predict every token from the true tokens before it: the mean of the head's loss over the pass's reads."""

    def __init__(self) -> None:
        pass

    def loss(self, generator: Generator, tokens: Tensor, label: Tensor, rng: Rng) -> Tensor:
        condition = generator.conditioner(generator.conditioner.drop(label, rng))
        step = generator.ordering.teacher(generator.layout, condition.prefix, rng, tokens.device)
        predict = generator.teacher_predict(step, tokens, condition)
        return generator.head.loss(predict, step, gather(tokens, step.read.token), rng).mean()
