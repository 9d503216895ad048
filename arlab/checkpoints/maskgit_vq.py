"""MaskGIT's VQGAN (arXiv 2202.04200) as it was released with RAR, its user."""

from __future__ import annotations

from arlab.checkpoints.family import TokenizerFamily
from arlab.checkpoints.names import Names, same
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.vqgan_names import MASKGIT, autoencoder_names, read_autoencoder, shrinks
from arlab.data.facts import DataFacts
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_parts import AveragePool, OutputShortcut

_CODEBOOK = "quantize.embedding.weight"


class MaskGITVQ(TokenizerFamily):
    """MaskGIT-VQGAN: average pooling, shortcuts from blocks' outputs, images in [0, 1]; its tensors tell the rest."""

    marks = ("encoder.down.0.block.0.conv1.weight", "encoder.mid.0.conv1.weight", _CODEBOOK)

    def shrinks(self, shapes: Shapes) -> int:
        return shrinks(shapes, MASKGIT)

    def tokenizer(self, shapes: Shapes, facts: DataFacts) -> VQTokenizer:
        codebook_size, token_width = (shapes.size(_CODEBOOK, axis) for axis in (0, 1))
        return VQTokenizer(
            facts=facts,
            autoencoder=VQGANAutoencoder(
                **read_autoencoder(shapes, MASKGIT),
                downsample=AveragePool(),
                shortcut=OutputShortcut(),
                image_range=(0, 1),
            ),
            quantizer=GradientVectorQuantizer(codebook_size=codebook_size, start_from_data=False, revive_below=0),
            token_width=token_width,
        )

    def names(self, tokenizer: Tokenizer) -> Names:
        assert isinstance(tokenizer, VQTokenizer)
        return Names([*autoencoder_names(tokenizer, MASKGIT), same(_CODEBOOK, "quantizer.codebook")])
