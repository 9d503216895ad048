"""Scales drawn anew in every training step, so that a model learns to go from any scale to any finer one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from random import Random

from arlab.configurable import Configurable
from arlab.orderings.step import Layout
from arlab.pyramids.grids import MOST_LEVELS, scales
from arlab.ranges import require
from arlab.rng import Rng

_KEY = "ordering.schedule"
_LARGEST = 1024
_PUBLISHED = 680 / 256  # tokens of all scales to those of the finest


class ScaleSchedule(Configurable, ABC):
    """Draws the scales of a training step."""

    @abstractmethod
    def draw(self, layout: Layout, rng: Rng) -> Layout:
        """Scales up to at most the finest level of ``layout``, the same for the whole batch."""


class RandomScales(ScaleSchedule):
    """So many scales out of each range of sizes, sometimes fewer, of at most so many tokens.

    With probability ``default_share`` the layout itself. Otherwise from each range (first, last, count) so many
    different sizes; then, each time with the next probability of ``drop``, one of the sizes between the second and the
    second to last is left out; while there are more than ``max_tokens`` tokens and scales, one of the last four is.

    By default FlexVAR's ranges, made for latents of 16 x 16, in proportion to the latent's longest side: 1 and 2, five
    of 3 to 10, two of 11 to 15, and 16.

    FlexVAR: Flexible Visual Autoregressive Modeling without Residual Prediction, arXiv 2502.20313.

    Args:
        ranges: sizes along the longest side, both ends included, and how many of them.
        default_share: how often the layout itself is trained on.
        drop: u uniform: a size is left out for each of these that u exceeds.
        max_tokens: at most so many tokens; where not given as many as the layout has, or FlexVAR's 680 of 16 x 16 in
            proportion, if those are more.
    """

    def __init__(
        self,
        *,
        ranges: list[tuple[int, int, int]] | None = None,
        default_share: float = 0.05,
        drop: tuple[float, ...] = (0.9, 0.95, 0.98, 0.99),
        max_tokens: int | None = None,
    ) -> None:
        for first, last, count in ranges or []:
            if not 1 <= first <= last <= _LARGEST or not 0 <= count <= last - first + 1:
                raise ValueError(
                    f"{_KEY}.ranges: expected sizes first <= last <= {_LARGEST} and at most as many of them as there "
                    f"are, got {(first, last, count)}"
                )
        if ranges is not None:
            require(
                f"{_KEY}.ranges: sizes in all", sum(count for _, _, count in ranges), at_least=1, at_most=MOST_LEVELS
            )
        require(f"{_KEY}.default_share", default_share, at_least=0, at_most=1)
        for threshold in drop:
            require(f"{_KEY}.drop", threshold, at_least=0, at_most=1)
        if max_tokens is not None:
            require(f"{_KEY}.max_tokens", max_tokens, at_least=1)
        self.ranges = ranges
        self.default_share = default_share
        self.drop = drop
        self.max_tokens = max_tokens

    def draw(self, layout: Layout, rng: Rng) -> Layout:
        longest = max(layout.finest)
        # One seed for all: the scales are the batch's, not a sample's.
        random = Random(int(rng.uniform()[0] * 2**24))
        published = round(_PUBLISHED * math.prod(layout.finest))
        limit = max(layout.num_tokens, published) if self.max_tokens is None else self.max_tokens
        if random.random() < self.default_share and layout.num_tokens <= limit:
            return layout
        chosen: list[int] = []
        for first, last, count in _ranges(longest) if self.ranges is None else self.ranges:
            chosen += random.sample(range(first, last + 1), count)
        chosen = sorted(set(chosen))
        dropped = random.random()
        for threshold in self.drop:
            if dropped > threshold and len(chosen) > 4:
                del chosen[random.randrange(2, len(chosen) - 1)]
        while scales(chosen, layout.finest, _KEY).num_tokens > limit and len(chosen) > 1:
            del chosen[random.randrange(max(1, len(chosen) - 4), len(chosen))]
        return scales(chosen, layout.finest, _KEY)


def _ranges(longest: int) -> list[tuple[int, int, int]]:
    """FlexVAR's ranges for a latent of another size: the same shares of it, and of each the same share of sizes."""
    middle = longest * 10 // 16
    shares = ((1, min(2, longest), 1.0), (3, middle, 5 / 8), (max(3, middle + 1), longest - 1, 2 / 5))
    found = [(first, last, max(1, round(share * (last - first + 1)))) for first, last, share in shares if first <= last]
    return [*found, (longest, longest, 1)]
