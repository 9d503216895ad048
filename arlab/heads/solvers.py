"""How the path of a flow is followed from noise to data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

from arlab.configurable import Configurable

Velocity = Callable[[Tensor, float], Tensor]
"""dx/dt at (x, t)."""
Fresh = Callable[[int], Tensor]
"""Standard normal noise of x's shape; one per number."""


class Solver(Configurable, ABC):
    """Solves dx/dt = v(x, t) from t = 1 to t = 0."""

    @abstractmethod
    def __call__(self, velocity: Velocity, x: Tensor, times: Sequence[float], fresh: Fresh) -> Tensor:
        """x at the last of the times.

        Args:
            velocity: v.
            x: at the first time.
            times: from noise to data.
            fresh: noise, for solvers that add some on the way.
        """


class Euler(Solver):
    """x ← x + (t' - t) v(x, t): one look a step, first order."""

    def __init__(self) -> None:
        pass

    def __call__(self, velocity: Velocity, x: Tensor, times: Sequence[float], fresh: Fresh) -> Tensor:
        for now, then in pairwise(times):
            x = x + (then - now) * velocity(x, now)
        return x
