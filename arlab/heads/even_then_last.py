"""Times of a stochastic solver: evenly down to near the end, then the end."""

from __future__ import annotations

from arlab.heads.time_grids import TimeGrid
from arlab.ranges import require


class EvenThenLast(TimeGrid):
    """S times evenly from 1 to ``last``, then 0: the last step, which adds no noise, is of a length of its own.

    Beyond Next-Token: Next-X Prediction for Autoregressive Visual Generation (xAR), arXiv 2502.20388.

    Args:
        num_steps: S, so many looks at the network (xAR: 40 or 50).
        last: the time of the last look (xAR: 0.04).
    """

    def __init__(self, *, num_steps: int = 50, last: float = 0.04) -> None:
        require("times.num_steps", num_steps, at_least=1, at_most=10000)
        require("times.last", last, above=0, below=1)
        self.num_steps = num_steps
        self.last = last

    def __call__(self) -> list[float]:
        every = (1 - self.last) / max(1, self.num_steps - 1)
        return [1 - step * every for step in range(self.num_steps)] + [0.0]
