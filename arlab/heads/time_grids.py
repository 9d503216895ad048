"""At which times the solver of a flow looks."""

from __future__ import annotations

from abc import ABC, abstractmethod

from arlab.configurable import Configurable
from arlab.ranges import require


class TimeGrid(Configurable, ABC):
    """Times from 1 (noise) down to 0 (data)."""

    @abstractmethod
    def __call__(self) -> list[float]:
        """The times, the first 1, the last 0, each smaller than the one before."""


class EvenTimes(TimeGrid):
    """1, 1 - 1/S, ..., 0.

    Args:
        num_steps: S.
    """

    def __init__(self, *, num_steps: int = 25) -> None:
        require("times.num_steps", num_steps, at_least=1, at_most=10000)
        self.num_steps = num_steps

    def __call__(self) -> list[float]:
        return [1 - step / self.num_steps for step in range(self.num_steps + 1)]


class ShiftedTimes(TimeGrid):
    """s t / (1 - t + s t) of even times t: more looks at noise where s > 1, at data where s < 1.

    Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, arXiv 2403.03206.

    Args:
        num_steps: S.
        shift: s; 1 leaves the times even.
    """

    def __init__(self, *, num_steps: int = 25, shift: float = 3.0) -> None:
        require("times.num_steps", num_steps, at_least=1, at_most=10000)
        require("times.shift", shift, at_least=0.001, at_most=1000)
        self.num_steps = num_steps
        self.shift = shift

    def __call__(self) -> list[float]:
        return [self.shift * t / (1 - t + self.shift * t) for t in EvenTimes(num_steps=self.num_steps)()]
