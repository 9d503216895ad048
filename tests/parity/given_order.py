"""A source of random numbers whose permutations are recorded."""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.rng import Rng


class GivenOrder(Rng):
    """Draws one permutation, known in advance, again and again.

    Args:
        order_BN: the permutation of each sample.
    """

    def __init__(self, order_BN: Tensor) -> None:
        self.batch = len(order_BN)
        self.order_BN = order_BN

    def uniform(self, *shape: int) -> Tensor:
        return torch.zeros(self.batch, *shape)

    def normal(self, *shape: int) -> Tensor:
        raise NotImplementedError

    def permutation(self, length: int) -> Tensor:
        return self.order_BN
