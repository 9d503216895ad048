"""FlexVAR's VQVAE (arXiv 2502.20313): LlamaGen's network, every scale of it an image of its own."""

from __future__ import annotations

from arlab.checkpoints.family import TokenizerFamily
from arlab.checkpoints.names import Names, same
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.var_scales import scales_of
from arlab.checkpoints.vqgan_names import LLAMAGEN, autoencoder_names, read_autoencoder, shrinks
from arlab.data.facts import DataFacts
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.similarity import Cosine
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder

# FlexVAR's tokenizer was trained to decode all scales; here it is the share of batches, in training it on.
_RANDOM_LEVEL = 0.5


class FlexVARVQ(TokenizerFamily):
    """The VQVAE of FlexVAR: codes of unit length; its tensors tell all but the scales.

    Args:
        patch_nums: the scales, coarse to fine: sides, or [height, width] of a grid; any will do.
    """

    marks = ("encoder.conv_blocks.0.res.0.conv1.weight", "quantize.embedding.weight")
    entries = ("trainer.vae_local", *TokenizerFamily.entries)
    # Which codes were used lately.
    unused = (r"^quantize\.codebook_used$",)

    def __init__(self, *, patch_nums: list[int | list[int]] | None = None) -> None:
        self.patch_nums = patch_nums

    def shrinks(self, shapes: Shapes) -> int:
        return shrinks(shapes, LLAMAGEN)

    def tokenizer(self, shapes: Shapes, facts: DataFacts) -> VQTokenizer:
        return VQTokenizer(
            facts=facts,
            autoencoder=VQGANAutoencoder(**read_autoencoder(shapes, LLAMAGEN)),
            quantizer=self.quantizer(shapes),
            token_width=shapes.size("quantize.embedding.weight", 1),
        )

    def quantizer(self, shapes: Shapes) -> PyramidQuantizer:
        """The quantizer, of which ``tokenizer`` is the rest."""
        patch_nums = self.need(self.patch_nums)
        scales_of(patch_nums)
        return PyramidQuantizer(
            pyramid=ScalePyramid(patch_nums=patch_nums, residual=False),
            quantizer=GradientVectorQuantizer(
                codebook_size=shapes.size("quantize.embedding.weight"),
                similarity=Cosine(),
                start_from_data=False,
                revive_below=0,
            ),
            random_level=_RANDOM_LEVEL,
        )

    def names(self, tokenizer: Tokenizer) -> Names:
        assert isinstance(tokenizer, VQTokenizer)
        codebook = same("quantize.embedding.weight", "quantizer.codebooks.0.codebook")
        return Names([*autoencoder_names(tokenizer, LLAMAGEN), codebook])
