"""How long the experiments of a comparison are trained, where they are given the same steps or the same arithmetic."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arlab.ranges import require

_MOST_STEPS = 10**9


class Budget(ABC):
    """What every experiment may spend on its generator; tokenizers have their own length."""

    @abstractmethod
    def steps(self, flops_per_step: Callable[[], float]) -> int:
        """How many optimiser steps that are.

        Args:
            flops_per_step: of the generator, forward and backward; asked only where it matters.

        Raises:
            ValueError: not even one, or too many to count.
        """


@dataclass(frozen=True)
class StepBudget(Budget):
    """So many optimiser steps.

    Attributes:
        count: how many.

    Raises:
        ValueError: there are none, or too many to count.
    """

    count: int

    def __post_init__(self) -> None:
        require("budget: steps", self.count, at_least=1, at_most=_MOST_STEPS)

    def __str__(self) -> str:
        return f"steps={self.count}"

    def steps(self, flops_per_step: Callable[[], float]) -> int:
        return self.count


@dataclass(frozen=True)
class FlopBudget(Budget):
    """So many floating-point operations: floor(total / those of one step) steps.

    Attributes:
        total: how many.

    Raises:
        ValueError: it is no positive number.
    """

    total: float

    def __post_init__(self) -> None:
        require("budget: flops", self.total, above=0)

    def __str__(self) -> str:
        return f"flops={self.total:g}"

    def steps(self, flops_per_step: Callable[[], float]) -> int:
        one = flops_per_step()
        steps = self.total / one
        if steps < 1:
            raise ValueError(f"budget: {self} is not enough for one step, which takes {one:.3g} FLOP")
        if steps > _MOST_STEPS:
            raise ValueError(f"budget: {self} are {steps:.3g} steps of {one:.3g} FLOP, more than {_MOST_STEPS}")
        return math.floor(steps)


def parse_budget(word: str) -> Budget:
    """A budget as it stands on a command line: ``steps=2000`` or ``flops=1e15``.

    Raises:
        ValueError: it is neither, or out of range.
    """
    name, _, value = word.partition("=")
    if name not in _KINDS:
        raise ValueError(f"budget: expected steps=N or flops=X, got {word!r}")
    number, budget, expected = _KINDS[name]
    try:
        amount = number(value)
    except ValueError as error:
        raise ValueError(f"budget: {name}: expected {expected}, got {value!r}") from error
    return budget(amount)


def validation_interval(batches: int, own_batches: int, own_interval: int) -> int:
    """Every how many batches to validate, so that a run of another length has as many validations as its own.

    ceil(batches / ceil(own_batches / own_interval)): evenly spaced, the last one at the end, where every run has one. A
    run of few batches may have less.

    Args:
        batches: of the run.
        own_batches: that its experiment asks for.
        own_interval: batches between validations that its experiment asks for.
    """
    validations = -(-own_batches // own_interval)
    return -(-batches // validations)


_KINDS: dict[str, tuple[Callable[[str], Any], Callable[[Any], Budget], str]] = {
    "steps": (int, StepBudget, "a whole number"),
    "flops": (float, FlopBudget, "a number such as 1e15"),
}
