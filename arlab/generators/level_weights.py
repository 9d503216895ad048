"""Loss weights of a token by the level it lies on: few coarse tokens decide much, many fine ones little.

Letters: N tokens of an image, K levels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.orderings.step import Layout
from arlab.ranges import require


class LevelWeights(Configurable, ABC):
    """A weight per level, the same for all of its tokens."""

    @abstractmethod
    def log_weight(self, layout: Layout) -> list[float]:
        """The logarithm of the weight of one token of each level, up to a constant."""

    def of_tokens(self, layout: Layout) -> Tensor:
        """The weight of each token, (N,) float32, 1 on average."""
        log_weight_K = torch.tensor(self.log_weight(layout), dtype=torch.float64)
        weight_N = (log_weight_K - log_weight_K.max()).exp()[layout.level_N]
        return (weight_N / weight_N.mean()).float()


class AreaWeights(LevelWeights):
    """A token's weight is proportional to (tokens of the last level / tokens of its level)^power.

    Infinity: Scaling Bitwise AutoRegressive Modeling for High-Resolution Image Synthesis, arXiv 2412.04431.

    Args:
        power: 0: every token counts the same; 0.5: Infinity's; 1: every level counts the same.
    """

    def __init__(self, *, power: float = 0.5) -> None:
        require("level_weights.power", power, at_least=0, at_most=10)
        self.power = power

    def log_weight(self, layout: Layout) -> list[float]:
        return [self.power * math.log(layout.sizes[-1] / size) for size in layout.sizes]


class BellWeights(LevelWeights):
    """A level's share is a normal density at its rank's standardised side (the "log-normal" weights of HMAR).

        level k of K: share ∝ exp(-((z_k - centre) / width)² / 2), spread evenly over its tokens
        z_k = (r_{K-1-k} - mean r) / std r,  r_k = side of level k / side of the last, std over K - 1

    The sides are taken in reverse, as in HMAR's code: the coarsest level has the largest z. With VAR's ten levels the
    fifth (5 x 5) counts most and the first least. Where all sides are equal, so are the shares.

    HMAR: Efficient Hierarchical Masked Auto-Regressive Image Generation, arXiv 2506.04421.

    Args:
        centre: the z that counts most.
        width: how far from it shares fall to 0.61 of the largest, in units of z.
    """

    def __init__(self, *, centre: float = 0.0, width: float = 1.0) -> None:
        require("level_weights.centre", centre, at_least=-10, at_most=10)
        require("level_weights.width", width, at_least=0.01, at_most=100)
        self.centre = centre
        self.width = width

    def log_weight(self, layout: Layout) -> list[float]:
        # The side of a level that is not square is that of a square of as many tokens.
        side = [math.sqrt(size / layout.sizes[-1]) for size in reversed(layout.sizes)]
        mean = sum(side) / len(side)
        std = math.sqrt(sum((each - mean) ** 2 for each in side) / max(1, len(side) - 1)) or 1.0
        share = [-(((each - mean) / std - self.centre) ** 2) / (2 * self.width**2) for each in side]
        return [log_share - math.log(size) for log_share, size in zip(share, layout.sizes, strict=True)]
