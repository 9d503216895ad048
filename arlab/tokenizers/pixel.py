"""Tokens that are the pixels themselves.

Letters: B batch, C channels, H and W image sides, N = H · W · C tokens of an image.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor

from arlab.data.facts import DataFacts
from arlab.orderings.step import Layout
from arlab.tokenizers.tokenizer import Tokenizer, required_facts
from arlab.tokens import TokenSpace


class PixelTokenizer(Tokenizer):
    """A token per sub-pixel, nothing learned: token k stands for step = levels / num_levels intensities in a row.

    k = ⌊v / step⌋ for the intensity v = (x + 1) / 2 · (levels - 1); it is decoded to the mean of its intensities.
    With ``num_levels`` = levels of the data the round trip is exact. The grid is (H, W · C), channels interleaved: R,
    G and B of a pixel are neighbours.

    Args:
        facts: of the data; ``facts.levels`` tells how many intensities there are.
        num_levels: V, how many tokens there are; divides the data's levels; null: as many.

    Raises:
        ValueError: ``num_levels`` does not divide the data's levels: bins would be unequal and likelihoods not exact.
    """

    def __init__(self, *, facts: DataFacts | None = None, num_levels: int | None = None) -> None:
        super().__init__()
        self.facts = required_facts(facts)
        levels = self.facts.levels
        self.num_levels = levels if num_levels is None else num_levels
        if self.num_levels < 2 or levels % self.num_levels:
            choices = ", ".join(str(n) for n in range(2, levels + 1) if levels % n == 0)
            raise ValueError(
                f"tokenizer.num_levels: {num_levels} does not divide the {levels} levels of {self.facts.source}; "
                f"choose from {choices}"
            )
        height, width = self.facts.image_size
        self.layout = Layout(((height, width * self.facts.channels),))
        self.space = TokenSpace(width=1, codebook_size=self.num_levels)

    def extra_repr(self) -> str:
        return f"num_levels={self.num_levels} of {self.facts.levels}"

    def encode(self, image_BCHW: Tensor) -> Tensor:
        intensity_BCHW = ((image_BCHW + 1) * self._half).round().clamp(0, self.facts.levels - 1).long()
        return rearrange(intensity_BCHW // self._step, "b c h w -> b (h w c)")

    def decode(self, tokens: Tensor) -> Tensor:
        return self._on_image(self._intensity(tokens))

    def vectors(self, tokens: Tensor) -> Tensor:
        return self._intensity(tokens)[..., None]

    def preview(self, tokens: Tensor, known_BN: Tensor) -> Tensor:
        """Each channel of a pixel where it is known, mid-gray where not, (B, C, H, W)."""
        return self.decode(tokens).where(self._on_image(known_BN), 0)

    def bits_per_dim(self, nats_per_image: float) -> float | None:
        """Nats / (dims · ln 2) + log2(levels / num_levels).

        The second term is the cost of telling the intensities of a bin apart, which the tokens leave uniform: it makes
        the figure the exact likelihood of the image at the data's own levels, and is 0 where these are the tokens.
        """
        return nats_per_image / (self.facts.dims * math.log(2)) + math.log2(self._step)

    @property
    def _step(self) -> int:
        return self.facts.levels // self.num_levels

    @property
    def _half(self) -> float:
        """Intensities per unit of x."""
        return (self.facts.levels - 1) / 2

    def _intensity(self, tokens: Tensor) -> Tensor:
        """The mean of a bin's intensities, in [-1, 1], float32."""
        mean = tokens.to(torch.float32) * self._step + (self._step - 1) / 2
        return mean / self._half - 1

    def _on_image(self, value_BN: Tensor) -> Tensor:
        height, width = self.facts.image_size
        return rearrange(value_BN, "b (h w c) -> b c h w", h=height, w=width).contiguous()
