"""Nested dropout: a decoder trained on prefixes of the tokens, so that the first tokens learn to matter most.

Letters: B batch, K tokens of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.ranges import require


class PrefixLengths(Configurable, ABC):
    """Which lengths of prefixes are trained on; each is as likely as the others."""

    @abstractmethod
    def of(self, num_tokens: int) -> list[int]:
        """Ascending, each in [1, K], K among them."""


class EveryLength(PrefixLengths):
    """1, 2, 3, ..., K.

    One-D-Piece: Image Tokenizer Meets Quality-Controllable Compression, arXiv 2501.10064.
    """

    def __init__(self) -> None:
        pass

    def of(self, num_tokens: int) -> list[int]:
        return list(range(1, num_tokens + 1))


class PowersOfTwo(PrefixLengths):
    """1, 2, 4, ..., and K itself.

    FlexTok: Resampling Images into 1D Token Sequences of Flexible Length, arXiv 2502.13967.
    """

    def __init__(self) -> None:
        pass

    def of(self, num_tokens: int) -> list[int]:
        return [2**power for power in range((num_tokens - 1).bit_length())] + [num_tokens]


class NestedDropout(Configurable):
    """With a probability, an image keeps only its first k tokens, k drawn from the lengths of at least ``minimum``.

    P(k) = probability / #lengths for each length k, and 1 - probability more for k = K.

    A redundant tail (ReToK: lengths up to K + M are drawn, of which more than K keep all) is a lower probability.
    Random numbers come from torch's own generator, as dropout's do.

    Learning Ordered Representations with Nested Dropout, arXiv 1402.0915.

    Args:
        probability: of dropping anything; 1 draws a length for every image.
        minimum: tokens that are always kept.
        lengths: which prefixes.
    """

    def __init__(self, *, probability: float = 1.0, minimum: int = 1, lengths: PrefixLengths | None = None) -> None:
        require("nested_dropout.probability", probability, above=0, at_most=1)
        require("nested_dropout.minimum", minimum, at_least=1)
        self.probability = probability
        self.minimum = minimum
        self.lengths = EveryLength() if lengths is None else lengths
        self._choices: dict[tuple[int, torch.device], Tensor] = {}

    def choices(self, num_tokens: int) -> list[int]:
        """The lengths drawn from.

        Raises:
            ValueError: there are fewer tokens than the minimum.
        """
        if self.minimum > num_tokens:
            raise ValueError(f"nested_dropout.minimum: must be at most num_tokens = {num_tokens}, got {self.minimum}")
        return [length for length in self.lengths.of(num_tokens) if length >= self.minimum]

    def draw(self, batch_size: int, num_tokens: int, device: torch.device) -> Tensor:
        """Which tokens each image keeps, (B, K) bool: True for a prefix."""
        # Kept: an accelerator that is handed a list waits for it.
        key = (num_tokens, device)
        if key not in self._choices:
            self._choices[key] = torch.tensor(self.choices(num_tokens), device=device)
        choices = self._choices[key]
        drawn_B = choices[torch.randint(len(choices), (batch_size,), device=device)]
        shortened_B = torch.rand(batch_size, device=device) < self.probability
        kept_B = drawn_B.where(shortened_B, num_tokens)
        return torch.arange(num_tokens, device=device) < kept_B[:, None]
