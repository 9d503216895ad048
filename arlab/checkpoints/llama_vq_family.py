"""What the tokenizers of LlamaGen and FlexVAR share: LlamaGen's network, and a codebook in the middle of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from arlab.checkpoints.family import TokenizerFamily
from arlab.checkpoints.names import Names, same
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.vqgan_names import LLAMAGEN, autoencoder_names, read_autoencoder, shrinks
from arlab.data.facts import DataFacts
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokenizers.quantizers.similarity import Similarity
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder

_CODES = "quantize.embedding.weight"


class LlamaVQFamily(TokenizerFamily):
    """Tokenizers with LlamaGen's network.

    Attributes:
        codebook: what the codes are called here.
    """

    marks = ("encoder.conv_blocks.0.res.0.conv1.weight", _CODES)
    # Which codes were used lately.
    unused = (r"^quantize\.codebook_used$",)
    codebook: ClassVar[str] = "quantizer.codebook"

    @abstractmethod
    def quantizer(self, shapes: Shapes) -> Quantizer:
        """What is between the halves of the network.

        Raises:
            ValueError: a tensor is missing, or an option.
        """

    def shrinks(self, shapes: Shapes) -> int:
        return shrinks(shapes, LLAMAGEN)

    def tokenizer(self, shapes: Shapes, facts: DataFacts) -> VQTokenizer:
        return VQTokenizer(
            facts=facts,
            autoencoder=VQGANAutoencoder(**read_autoencoder(shapes, LLAMAGEN)),
            quantizer=self.quantizer(shapes),
            token_width=shapes.axes(_CODES, 2)[1],
        )

    def names(self, tokenizer: Tokenizer) -> Names:
        assert isinstance(tokenizer, VQTokenizer)
        return Names([*autoencoder_names(tokenizer, LLAMAGEN), same(_CODES, self.codebook)])


def published_codes(shapes: Shapes, similarity: Similarity) -> GradientVectorQuantizer:
    """A codebook as all of them train it.

    Raises:
        ValueError: a tensor is missing.
    """
    return GradientVectorQuantizer(
        codebook_size=shapes.axes(_CODES, 2)[0], similarity=similarity, start_from_data=False, revive_below=0
    )
