"""MyOrdering: which token is predicted when.

    arlab check plugins/my_ordering.py      the laws every ordering obeys
    pytest plugins/test_my_ordering.py      the same laws as tests
    arlab new experiment my_experiment --ordering MyOrdering

Add --plugins plugins/my_ordering.py where the file is not in the folder plugins/ of the working directory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arlab.orderings.traversal import Traversal
from arlab.ranges import require


class MyOrdering(Traversal):
    """Predict the tokens from the last to the first.

    Args:
        per_step: how many tokens are drawn at once; they do not see each other.
    """

    # The constructor is the configuration: {class_path: MyOrdering, init_args: {per_step: 4}}.
    def __init__(self, *, per_step: int = 1) -> None:
        require("ordering.per_step", per_step, at_least=1)
        self.per_step = per_step

    # What a step predicts is all you have to say; what it sees, trains on and keeps in the cache follows.
    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        # (H, W), or (T, H, W), or (N,). Cells are numbered row by row: cell (y, x) is y * W + x.
        number = torch.arange(math.prod(grid)).view(grid)
        order = number.flatten().flip(0)
        # One tensor of cells per step; together they name each cell once.
        return list(order.split(self.per_step))
