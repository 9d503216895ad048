"""Tokenizers without pixels of several scales: a quantizer with no autoencoder around it."""

from __future__ import annotations

from torch import Tensor

from arlab.data.facts import DataFacts
from arlab.orderings.step import Layout
from arlab.pyramids.pyramid import Pyramid
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace


class ScaleTokens(Tokenizer):
    """All that a generator sees of VAR's and FlexVAR's tokenizers; images are latents here.

    Args:
        quantizer: bound already.
        width: of a code.
        num_classes: of the data.
    """

    def __init__(self, *, quantizer: PyramidQuantizer, width: int, num_classes: int = 10) -> None:
        super().__init__()
        self.quantizer, self.layout = quantizer, quantizer.layout
        self.space = TokenSpace(width, quantizer.codebook_size)
        height, width_ = (16 * side for side in self.layout.finest)
        self.facts = DataFacts("golden", 3, (height, width_), tuple(map(str, range(num_classes))))

    @property
    def pyramid(self) -> Pyramid | None:
        return self.quantizer.pyramid

    def at(self, layout: Layout) -> Tokenizer:
        if layout == self.layout:
            return self
        twin = self.quantizer.at(layout)
        assert isinstance(twin, PyramidQuantizer)
        return ScaleTokens(quantizer=twin, width=self.space.width, num_classes=self.facts.num_classes)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        tokens: Tensor = self.quantizer(image_BCHW).tokens
        return tokens

    def decode(self, tokens: Tensor) -> Tensor:
        """Three channels of the map itself."""
        return self.canvas(tokens, len(self.layout.shapes))[:, :3]

    def vectors(self, tokens: Tensor) -> Tensor:
        return self.quantizer.vectors(tokens)

    def canvas(self, tokens: Tensor, level: int) -> Tensor:
        return self.quantizer.assemble(self.vectors(tokens), level)
