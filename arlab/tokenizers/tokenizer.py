"""The contract of a tokenizer: images to tokens and back.

Letters: B batch, C image channels or token vector width, H and W image sides, N tokens of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from arlab.data.facts import DataFacts
from arlab.module import Module
from arlab.orderings.step import Layout
from arlab.pyramids.pyramid import Pyramid
from arlab.tokens import TokenSpace


class Encoded(NamedTuple):
    """What is known of the tokens of images.

    Attributes:
        tokens: (B, N) indices or (B, N, C) vectors.
        deviation: (B, N, C) standard deviation of vectors that are a Gaussian's means; None for certain tokens.
    """

    tokens: Tensor
    deviation: Tensor | None = None


class Tokenizer(Module, ABC):
    """Images (B, C, H, W) in [-1, 1] to tokens, (B, N) indices or (B, N, C) vectors, and back.

    Trained by ``arlab fit`` like everything else; frozen inside a generator.
    """

    layout: Layout
    """Where its tokens lie."""
    space: TokenSpace
    """The values its tokens take."""

    @property
    def pyramid(self) -> Pyramid | None:
        """What its levels are; None where there is one level."""
        return None

    def at(self, layout: Layout) -> Tokenizer:
        """A tokenizer of the same weights whose tokens lie on another layout.

        Raises:
            ValueError: it knows its own layout only.
        """
        if layout == self.layout:
            return self
        raise ValueError(f"tokenizer: its tokens lie on {self.layout} and cannot lie on {layout}")

    @abstractmethod
    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images to tokens; where they are uncertain, the most likely ones."""

    def encoded(self, image_BCHW: Tensor) -> Encoded:
        """Images to tokens with what is known of their uncertainty."""
        return Encoded(self.encode(image_BCHW))

    @abstractmethod
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens to images in [-1, 1]."""

    @abstractmethod
    def vectors(self, tokens: Tensor) -> Tensor:
        """The vector of each token, (B, N, C): the codebook's, or the token itself."""

    def canvas(self, tokens: Tensor, level: int) -> Tensor:
        """The levels below ``level`` put back on one map (B, C, *finest).

        Raises:
            TypeError: this tokenizer has a single level, so nothing lies below one.
        """
        raise TypeError(f"{type(self).__name__} has one level; next-scale and next-frequency need a pyramid of them")

    def canvases(self, tokens: Tensor, levels: Sequence[int]) -> list[Tensor]:
        """The canvas of each of these levels."""
        return [self.canvas(tokens, level) for level in levels]

    def preview(self, tokens: Tensor, known_BN: Tensor) -> Tensor:
        """An image of the tokens known so far, (B, C, H, W).

        Tokens on a single grid: mid-gray where a cell is not known yet. Tokens on several levels, or not on a grid of
        two axes: those not known yet count as token 0 or a vector of zeros; tokenizers that can do better override it.
        """
        image_BCHW = self.decode(tokens.where(known_BN.reshape(*known_BN.shape, *(1,) * (tokens.dim() - 2)), 0))
        if len(self.layout.shapes) > 1 or self.layout.num_axes != 2:
            return image_BCHW
        known_B1hw = known_BN.reshape(-1, 1, *self.layout.shapes[0]).to(image_BCHW.dtype)
        return image_BCHW * F.interpolate(known_B1hw, image_BCHW.shape[-2:], mode="nearest")

    def bits_per_dim(self, nats_per_image: float) -> float | None:
        """Exact bits per dimension of the image's intensities; None where tokens do not determine its likelihood."""
        return None


def required_facts(facts: DataFacts | None) -> DataFacts:
    """The facts a constructor was given.

    Raises:
        ValueError: none were given.
    """
    if facts is None:
        raise ValueError("facts: missing; pass the data module's facts, e.g. facts=FashionMNIST().facts")
    return facts
