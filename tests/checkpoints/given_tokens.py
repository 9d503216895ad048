"""Tokenizers without pixels: all that a generator sees of one."""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.data.facts import DataFacts
from arlab.orderings.step import Layout
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace


class GivenTokens(Tokenizer):
    """Codes, or vectors where there is no codebook, on a grid.

    Args:
        grid: tokens along height and width.
        width: of a token's vector.
        codebook_size: how many codes; none: the tokens are vectors.
        num_classes: of the data.
    """

    def __init__(
        self, *, grid: tuple[int, int], width: int = 4, codebook_size: int | None = None, num_classes: int = 10
    ) -> None:
        super().__init__()
        self.layout, self.space = Layout((grid,)), TokenSpace(width, codebook_size)
        self.facts = DataFacts("given", 3, grid, tuple(map(str, range(num_classes))))

    def encode(self, image_BCHW: Tensor) -> Tensor:
        raise NotImplementedError

    def decode(self, tokens: Tensor) -> Tensor:
        """The grid itself, three channels alike."""
        plain = tokens.float() if self.space.discrete else tokens.mean(-1)
        return plain.unflatten(-1, self.layout.finest)[:, None].expand(-1, 3, -1, -1)

    def vectors(self, tokens: Tensor) -> Tensor:
        if not self.space.discrete:
            return tokens
        return torch.sin(tokens[..., None] * torch.arange(1, self.space.width + 1))
