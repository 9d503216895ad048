"""A tokenizer for recordings of models of continuous tokens, which need no pixels."""

from __future__ import annotations

from torch import Tensor

from arlab.data.facts import DataFacts
from arlab.orderings.step import Layout
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace


class GridTokenizer(Tokenizer):
    """Vectors on one grid.

    Args:
        grid: where they lie.
        width: numbers of a vector.
        num_classes: of the data.
    """

    def __init__(self, grid: tuple[int, int], width: int, *, num_classes: int) -> None:
        super().__init__()
        self.layout, self.space = Layout((grid,)), TokenSpace(width)
        self.facts = DataFacts("golden", width, grid, tuple(map(str, range(num_classes))))

    def encode(self, image_BCHW: Tensor) -> Tensor:
        return image_BCHW.flatten(2).transpose(1, 2)

    def decode(self, tokens: Tensor) -> Tensor:
        return tokens.transpose(1, 2).unflatten(2, self.layout.shapes[0])

    def vectors(self, tokens: Tensor) -> Tensor:
        return tokens
