"""A stochastic solver: noise is taken away and some put back at every step but the last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from arlab.heads.solvers import Fresh, Solver, Velocity


class EulerMaruyama(Solver):
    """dx = ((2 - t) v + x) dt + √(2 t) dw: the velocity less t times the score, with as much noise as makes up for it.

    Along a linear path the score is -((1 - t) v + x) / t, so that values have at each time the distribution they have
    along the path itself; the last step is without noise. Errors of earlier steps are washed out, at the
    price of more steps than ``Euler`` needs. Goes with ``EvenThenLast``.

    Beyond Next-Token: Next-X Prediction for Autoregressive Visual Generation (xAR), arXiv 2502.20388.
    """

    def __init__(self) -> None:
        pass

    def __call__(self, velocity: Velocity, x: Tensor, times: Sequence[float], fresh: Fresh) -> Tensor:
        for number, (now, then) in enumerate(pairwise(times)):
            drift = (2 - now) * velocity(x, now) + x
            x = x + (then - now) * drift
            if number < len(times) - 2:
                x = x + math.sqrt(2 * now * (now - then)) * fresh(number)
        return x
