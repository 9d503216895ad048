"""LlamaGen's VQGAN (arXiv 2406.06525), which NAR, PAR and RandAR use as it is."""

from __future__ import annotations

from arlab.checkpoints.family import TokenizerFamily
from arlab.checkpoints.names import Names, same
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.vqgan_names import LLAMAGEN, autoencoder_names, read_autoencoder, shrinks
from arlab.data.facts import DataFacts
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.similarity import Cosine
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder


class LlamaGenVQ(TokenizerFamily):
    """VQ-16 and VQ-8: codes of unit length, 8 numbers each; their tensors tell everything."""

    marks = ("encoder.conv_blocks.0.res.0.conv1.weight", "quantize.embedding.weight")
    # Which codes were used lately.
    unused = (r"^quantize\.codebook_used$",)

    def shrinks(self, shapes: Shapes) -> int:
        return shrinks(shapes, LLAMAGEN)

    def tokenizer(self, shapes: Shapes, facts: DataFacts) -> VQTokenizer:
        codebook_size, token_width = shapes.axes("quantize.embedding.weight", 2)
        return VQTokenizer(
            facts=facts,
            autoencoder=VQGANAutoencoder(**read_autoencoder(shapes, LLAMAGEN)),
            quantizer=GradientVectorQuantizer(
                codebook_size=codebook_size, similarity=Cosine(), start_from_data=False, revive_below=0
            ),
            token_width=token_width,
        )

    def names(self, tokenizer: Tokenizer) -> Names:
        assert isinstance(tokenizer, VQTokenizer)
        codebook = same("quantize.embedding.weight", "quantizer.codebook")
        return Names([*autoencoder_names(tokenizer, LLAMAGEN), codebook])
