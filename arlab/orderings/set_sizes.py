"""Set sizes: how many tokens become known in each step of masked decoding."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from arlab.configurable import Configurable
from arlab.ranges import require

_MOST_STEPS = 2**16


class SetSizes(Configurable, ABC):
    """After step s of S the share ``masked((s + 1) / S)`` of all tokens is masked still, rounded down.

    At least one token becomes known in each step, and at least one is left for each step to come. Where there are
    fewer tokens than steps, there are as many steps as tokens.

    Args:
        num_steps: S.
    """

    def __init__(self, *, num_steps: int) -> None:
        require("ordering.set_sizes.num_steps", num_steps, at_least=1, at_most=_MOST_STEPS)
        self.num_steps = num_steps

    @abstractmethod
    def masked(self, done: float) -> float:
        """The share of the tokens still masked, in [0, 1], when this share of the steps, in (0, 1], is over."""

    def counts(self, num_tokens: int) -> list[int]:
        """How many tokens become known in each step; positive numbers whose sum is ``num_tokens``."""
        steps = min(self.num_steps, num_tokens)
        counts, masked = [], num_tokens
        for ahead in reversed(range(steps)):
            wanted = math.floor(num_tokens * self.masked((steps - ahead) / steps))
            left = max(ahead, min(masked - 1, wanted)) if ahead else 0
            counts.append(masked - left)
            masked = left
        return counts


class CosineSizes(SetSizes):
    """cos(π / 2 · r): few tokens first, many last (MaskGIT, MAR).

    MaskGIT: Masked Generative Image Transformer, arXiv 2202.04200; Autoregressive Image Generation without Vector
    Quantization (MAR), arXiv 2406.11838 (64 steps; its figures are made with 256).

    Args:
        num_steps: S.
    """

    def __init__(self, *, num_steps: int = 64) -> None:
        super().__init__(num_steps=num_steps)

    def masked(self, done: float) -> float:
        return math.cos(math.pi / 2 * done)


class ArccosSizes(SetSizes):
    """arccos(r) / (π / 2): many tokens first and last, fewer between (TiTok's MaskGIT).

    An Image is Worth 32 Tokens for Reconstruction and Generation (TiTok), arXiv 2406.07550.

    Args:
        num_steps: S.
    """

    def __init__(self, *, num_steps: int = 8) -> None:
        super().__init__(num_steps=num_steps)

    def masked(self, done: float) -> float:
        return math.acos(done) / (math.pi / 2)


class LinearSizes(SetSizes):
    """1 - r: as many tokens in each step.

    Args:
        num_steps: S.
    """

    def __init__(self, *, num_steps: int = 64) -> None:
        super().__init__(num_steps=num_steps)

    def masked(self, done: float) -> float:
        return 1 - done
