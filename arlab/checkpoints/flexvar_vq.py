"""FlexVAR's VQVAE (arXiv 2502.20313): LlamaGen's network, every scale of it an image of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from arlab.checkpoints.llama_vq_family import LlamaVQFamily, published_codes
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.var_scales import scales_of, told_scales
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.similarity import Cosine

# FlexVAR's tokenizer was trained to decode all scales; here it is the share of batches, in training it on.
_RANDOM_LEVEL = 0.5


class FlexVARVQ(LlamaVQFamily):
    """The VQVAE of FlexVAR: codes of unit length; its tensors tell all but the scales.

    Args:
        patch_nums: the scales, coarse to fine: sides, or [height, width] of a grid; any will do.
    """

    entries = ("trainer.vae_local", *LlamaVQFamily.entries)
    codebook = "quantizer.codebooks.0.codebook"

    def __init__(self, *, patch_nums: list[int | list[int]] | None = None) -> None:
        self.patch_nums = patch_nums

    def informed(self, args: Mapping[str, object]) -> Self:
        return told_scales(self, args)

    def quantizer(self, shapes: Shapes) -> PyramidQuantizer:
        patch_nums = self.need(self.patch_nums)
        scales_of(patch_nums)
        return PyramidQuantizer(
            pyramid=ScalePyramid(patch_nums=patch_nums, residual=False),
            quantizer=published_codes(shapes, Cosine()),
            random_level=_RANDOM_LEVEL,
        )
