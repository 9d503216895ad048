"""How often training draws an order at random, as training goes on."""

from __future__ import annotations

from abc import ABC, abstractmethod

from arlab.configurable import Configurable
from arlab.ranges import require

_KEY = "ordering.annealing"


class Annealing(Configurable, ABC):
    """From a share of training that is over to a probability."""

    @abstractmethod
    def probability(self, trained: float) -> float:
        """How often an order is drawn when this share of the training steps is over."""


class AlwaysDrawn(Annealing):
    """Every order is drawn, to the end."""

    def __init__(self) -> None:
        pass

    def probability(self, trained: float) -> float:
        return 1.0


class LinearAnnealing(Annealing):
    """1 up to one share of training, then linearly down to 0 at another: by default epochs 200 and 300 of RAR's 400.

    Randomized Autoregressive Visual Generation (RAR), arXiv 2411.00776.

    Args:
        start: the share of training after which fewer orders are drawn.
        end: the share after which none is.
    """

    def __init__(self, *, start: float = 0.5, end: float = 0.75) -> None:
        require(f"{_KEY}.start", start, at_least=0, at_most=1)
        require(f"{_KEY}.end", end, at_least=start, at_most=1)
        self.start = start
        self.end = end

    def probability(self, trained: float) -> float:
        if trained < self.start:
            return 1.0
        return 0.0 if trained >= self.end else (self.end - trained) / (self.end - self.start)
