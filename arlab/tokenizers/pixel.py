"""Tokens that are the pixels themselves.

Letters: B batch, C channels, H and W image sides, N = H · W · C tokens of an image.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from arlab.data.facts import DataFacts
from arlab.orderings.step import Layout
from arlab.tokenizers.tokenizer import Tokenizer, required_facts
from arlab.tokens import TokenSpace


class PixelTokenizer(Tokenizer):
    """A token per sub-pixel, nothing learned: token k stands for step = data_levels / num_levels intensities in a row.

    k = ⌊v / step⌋ for the intensity v = (x + 1) / 2 · (data_levels - 1); it is decoded to the mean of its intensities.
    With ``num_levels = data_levels`` the round trip is exact. The grid is (H, W · C), channels interleaved: R, G and
    B of a pixel are neighbours.

    Args:
        facts: of the data.
        num_levels: V, how many tokens there are; divides ``data_levels``.
        data_levels: how many intensities the data has: 256 for 8-bit images, 17 for scikit-learn's digits.

    Raises:
        ValueError: ``num_levels`` does not divide ``data_levels``: bins would be unequal and likelihoods not exact.
    """

    def __init__(self, *, facts: DataFacts | None = None, num_levels: int = 256, data_levels: int = 256) -> None:
        super().__init__()
        if data_levels < 2:
            raise ValueError(f"data_levels: must be at least 2, got {data_levels}")
        if num_levels < 2 or data_levels % num_levels:
            choices = ", ".join(str(n) for n in range(2, data_levels + 1) if data_levels % n == 0)
            raise ValueError(
                f"num_levels: {num_levels} does not divide data_levels {data_levels}; choose from {choices} "
                f"(or set data_levels to what the data has)"
            )
        self.facts = required_facts(facts)
        self.num_levels = num_levels
        self.data_levels = data_levels
        height, width = self.facts.image_size
        self.layout = Layout(((height, width * self.facts.channels),))
        self.space = TokenSpace(width=1, codebook_size=num_levels)

    def extra_repr(self) -> str:
        return f"num_levels={self.num_levels}, data_levels={self.data_levels}"

    def encode(self, image_BCHW: Tensor) -> Tensor:
        intensity_BHWC = ((image_BCHW.permute(0, 2, 3, 1) + 1) * ((self.data_levels - 1) / 2)).round()
        intensity_BN = intensity_BHWC.flatten(1).clamp(0, self.data_levels - 1).long()
        return intensity_BN // self._step

    def decode(self, tokens: Tensor) -> Tensor:
        height, width = self.facts.image_size
        x_BHWC = self._intensity(tokens).view(-1, height, width, self.facts.channels)
        return x_BHWC.permute(0, 3, 1, 2).contiguous()

    def vectors(self, tokens: Tensor) -> Tensor:
        return self._intensity(tokens)[..., None]

    def bits_per_dim(self, nats_per_image: float) -> float | None:
        """Nats / (dims · ln 2) + log2(data_levels / num_levels).

        The second term is the cost of telling the intensities of a bin apart, which the tokens leave uniform: it makes
        the figure the exact likelihood of the image at its own ``data_levels``, and is 0 where these are the tokens.
        """
        return nats_per_image / (self.facts.dims * math.log(2)) + math.log2(self._step)

    @property
    def _step(self) -> int:
        return self.data_levels // self.num_levels

    def _intensity(self, tokens: Tensor) -> Tensor:
        """The mean of a bin's intensities, in [-1, 1], float32."""
        mean = tokens.to(torch.float32) * self._step + (self._step - 1) / 2
        return mean / ((self.data_levels - 1) / 2) - 1
