"""Continuous tokens of one level, split into the levels of a pyramid for an ordering that goes from level to level.

Letters: B batch, n tokens of the tokenizer, N tokens of all levels, C token vector width, S the latent's sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from arlab.orderings.step import Layout
from arlab.pyramids.interpolation import Nearest
from arlab.pyramids.pyramid import Pyramid
from arlab.tokenizers.tokenizer import Encoded, Tokenizer


class LatentLevels:
    """A tokenizer of one level as orderings of several levels want it; images go through its own tokens.

    Its tokens, (B, n, C), are a map; the levels a pyramid splits that into, one after the other, are (B, N, C). Put
    back on one map they are decoded.

    Args:
        tokenizer: of continuous tokens on one level.
        pyramid: along what they are split.
        layout: of the levels, if not the pyramid's own.

    Raises:
        ValueError: the pyramid has its own levels, or the tokenizer does not decode maps of the last one's size.
    """

    def __init__(self, tokenizer: Tokenizer, pyramid: Pyramid, layout: Layout) -> None:
        self.tokenizer = tokenizer
        self.shape = tokenizer.layout.finest
        self.pyramid = pyramid if layout == pyramid.layout(self.shape) else pyramid.at(layout)
        self.layout = layout
        self.decoder = tokenizer.at(Layout((layout.finest,)))

    def split(self, tokens_BnC: Tensor) -> Tensor:
        """The tokenizer's tokens to those of all levels, (B, N, C)."""
        z = tokens_BnC.transpose(1, 2).unflatten(-1, self.shape)
        return torch.cat([level.flatten(2) for level in self.pyramid.split(z)], -1).transpose(1, 2)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images to the tokens of all levels."""
        return self.split(self.tokenizer.encode(image_BCHW))

    def encoded(self, image_BCHW: Tensor) -> Encoded:
        """Images to the tokenizer's own tokens, not split yet: they are drawn before."""
        return self.tokenizer.encoded(image_BCHW)

    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens of all levels to images."""
        return self._image(self.canvases(tokens, [len(self.layout.shapes)])[0])

    def vectors(self, tokens: Tensor) -> Tensor:
        """The vector of each token: itself."""
        return tokens

    def canvases(self, tokens: Tensor, levels: Sequence[int]) -> list[Tensor]:
        """For each of these levels those below it put back on one map, (B, C, *finest)."""
        finest = self.layout.finest
        below = [self._grid(tokens, level) for level in range(max(levels, default=0))]
        nothing = tokens.new_zeros(len(tokens), tokens.shape[-1], *finest)
        if not self.pyramid.residual:
            return [self.pyramid.canvas(below[:level], finest) if level else nothing for level in levels]
        sums = [nothing, *accumulate(self.pyramid.contributions(below, finest))]
        return [sums[level] for level in levels]

    def preview(self, tokens: Tensor, known_BN: Tensor) -> Tensor:
        """An image of the levels of which anything is known, its unknown vectors zero."""
        known_N = known_BN.any(0).cpu()
        levels = int(self.layout.level_N[known_N].max()) + 1 if bool(known_N.any()) else 0
        image_BCHW = self._image(self.canvases(tokens * known_BN[..., None], [levels])[0])
        return Nearest()(image_BCHW, self.decoder.facts.image_size)

    def _grid(self, tokens: Tensor, level: int) -> Tensor:
        values = tokens[:, self.layout.tokens(level)].transpose(1, 2)
        grid: Tensor = values.unflatten(-1, self.layout.shapes[level])
        return grid

    def _image(self, z: Tensor) -> Tensor:
        return self.decoder.decode(z.flatten(2).transpose(1, 2))
