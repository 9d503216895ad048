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


class Midpoint(Solver):
    """Euler with the velocity found half a step ahead: two looks a step, second order; it never looks at t = 0."""

    def __init__(self) -> None:
        pass

    def __call__(self, velocity: Velocity, x: Tensor, times: Sequence[float], fresh: Fresh) -> Tensor:
        for now, then in pairwise(times):
            halfway = x + 0.5 * (then - now) * velocity(x, now)
            x = x + (then - now) * velocity(halfway, 0.5 * (now + then))
        return x


class Heun(Solver):
    """Euler with the mean of the velocities at both ends of a step: two looks a step, second order.

    The step that arrives at t = 0, where nothing is noised and little was learned, is Euler's: one look, and still of
    second order in all.

    Elucidating the Design Space of Diffusion-Based Generative Models (EDM), arXiv 2206.00364.
    """

    def __init__(self) -> None:
        pass

    def __call__(self, velocity: Velocity, x: Tensor, times: Sequence[float], fresh: Fresh) -> Tensor:
        for now, then in pairwise(times):
            slope = velocity(x, now)
            ahead = x + (then - now) * slope
            x = x + 0.5 * (then - now) * (slope + velocity(ahead, then)) if then > 0 else ahead
        return x
