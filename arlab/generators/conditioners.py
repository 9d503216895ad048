"""Conditioners: what a sample is asked to be, as condition slots and as a vector that modulates.

Letters: B batch, P condition slots, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arlab.configurable import Configurable
from arlab.data.facts import DataFacts
from arlab.orderings.ordering import Prefix
from arlab.ranges import require
from arlab.rng import Rng


@dataclass(frozen=True)
class Condition:
    """A condition, embedded.

    Attributes:
        slots: (B, P, D) what the condition slots carry.
        vector: (B, D) what modulates the blocks, where they are modulated.
        valid: (B, P) False where a slot is padding; or None.
    """

    slots: Tensor
    vector: Tensor
    valid: Tensor | None = None

    @property
    def prefix(self) -> Prefix:
        """What the ordering needs to know of it."""
        return Prefix(self.slots.shape[1], self.valid)


class Conditioner(nn.Module, Configurable, ABC):
    """Labels to conditions; configured first, bound to width and data facts later."""

    num_slots: int
    """P."""

    @property
    def guidable(self) -> bool:
        """Whether training shows the model the null label, which guidance compares with."""
        return True

    @abstractmethod
    def bind(self, width: int, facts: DataFacts) -> None:
        """Create the weights."""

    @abstractmethod
    def forward(self, label: Tensor) -> Condition:
        """Embed labels (B,)."""

    @abstractmethod
    def null(self, label: Tensor) -> Tensor:
        """Labels that say nothing, as many as given; guidance compares with them."""

    @abstractmethod
    def drop(self, label: Tensor, rng: Rng) -> Tensor:
        """Labels with some replaced by the null label, for training with guidance."""


class ClassLabel(Conditioner):
    """A learned vector per class and one for 'no class'.

    Args:
        num_slots: copies of the vector fed as condition slots; 0 conditions by modulation alone (MAR feeds 64).
        drop_probability: how often training replaces the class by 'no class', so that guidance has something to
            compare with (Classifier-Free Diffusion Guidance, arXiv 2207.12598).
        init_std: standard deviation of the initial vectors.
    """

    def __init__(self, *, num_slots: int = 1, drop_probability: float = 0.1, init_std: float = 0.02) -> None:
        super().__init__()
        require("conditioner.num_slots", num_slots, at_least=0)
        require("conditioner.drop_probability", drop_probability, at_least=0, at_most=1)
        require("conditioner.init_std", init_std, at_least=0)
        self.num_slots = num_slots
        self.drop_probability = drop_probability
        self.init_std = init_std

    @property
    def guidable(self) -> bool:
        return self.drop_probability > 0

    def bind(self, width: int, facts: DataFacts) -> None:
        self.num_classes = facts.num_classes
        self.embedding = nn.Embedding(facts.num_classes + 1, width)
        nn.init.normal_(self.embedding.weight, std=self.init_std)

    def forward(self, label: Tensor) -> Condition:
        vector_BD = self.embedding(label)
        return Condition(vector_BD[:, None].expand(-1, self.num_slots, -1), vector_BD)

    def null(self, label: Tensor) -> Tensor:
        return torch.full_like(label, self.num_classes)

    def drop(self, label: Tensor, rng: Rng) -> Tensor:
        dropped = rng.uniform().to(label.device) < self.drop_probability
        return torch.where(dropped, self.null(label), label)
