"""Mask ratios: which share of the tokens is masked in a training step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from statistics import NormalDist

from arlab.configurable import Configurable
from arlab.ranges import require

_KEY = "ordering.mask_ratio"


class MaskRatio(Configurable, ABC):
    """A distribution of mask ratios.

    One ratio is drawn per batch, as MAR does, so that all rows are of one length; MaskGIT draws one per image.
    """

    @abstractmethod
    def at(self, uniform: float) -> float:
        """The ratio, in [0, 1], that a uniform number in [0, 1) becomes."""

    def count(self, num_tokens: int, uniform: float) -> int:
        """How many of so many tokens are masked: the ratio's share of them, rounded up, at least one."""
        return max(1, min(num_tokens, math.ceil(num_tokens * self.at(uniform))))


class TruncatedNormalRatio(MaskRatio):
    """A normal distribution, cut off below ``least`` and above 1 (MAR).

    Autoregressive Image Generation without Vector Quantization (MAR), arXiv 2406.11838.

    Args:
        mean: of the normal distribution, from ``least`` to 1.
        std: its standard deviation.
        least: the smallest ratio.
    """

    def __init__(self, *, mean: float = 1.0, std: float = 0.25, least: float = 0.7) -> None:
        require(f"{_KEY}.std", std, at_least=1e-3, at_most=1e3)
        require(f"{_KEY}.least", least, at_least=0, below=1)
        require(f"{_KEY}.mean", mean, at_least=least, at_most=1)
        self.mean = mean
        self.std = std
        self.least = least

    def at(self, uniform: float) -> float:
        normal = NormalDist(self.mean, self.std)
        low, high = normal.cdf(self.least), normal.cdf(1.0)
        ratio = normal.inv_cdf(max(1e-300, low + uniform * (high - low)))
        return min(1.0, max(self.least, ratio))


class ArccosRatio(MaskRatio):
    """arccos(u) / (π / 2): most draws mask much, any ratio occurs (TiTok's MaskGIT).

    An Image is Worth 32 Tokens for Reconstruction and Generation (TiTok), arXiv 2406.07550.
    """

    def __init__(self) -> None:
        pass

    def at(self, uniform: float) -> float:
        return math.acos(uniform) / (math.pi / 2)


class CosineRatio(MaskRatio):
    """cos(π / 2 · u) (MaskGIT).

    MaskGIT: Masked Generative Image Transformer, arXiv 2202.04200.
    """

    def __init__(self) -> None:
        pass

    def at(self, uniform: float) -> float:
        return math.cos(math.pi / 2 * uniform)


class UniformRatio(MaskRatio):
    """Any ratio from ``least`` to ``most`` is as likely as any other.

    Args:
        least: the smallest ratio.
        most: the largest.
    """

    def __init__(self, *, least: float = 0.0, most: float = 1.0) -> None:
        require(f"{_KEY}.least", least, at_least=0, at_most=1)
        require(f"{_KEY}.most", most, at_least=least, at_most=1)
        self.least = least
        self.most = most

    def at(self, uniform: float) -> float:
        return self.least + (self.most - self.least) * uniform
