"""LlamaGen's VQGAN (arXiv 2406.06525), which NAR, PAR and RandAR use as it is."""

from __future__ import annotations

from arlab.checkpoints.llama_vq_family import LlamaVQFamily, published_codes
from arlab.checkpoints.shapes import Shapes
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.similarity import Cosine, Euclidean


class LlamaGenVQ(LlamaVQFamily):
    """VQ-16 and VQ-8, 8 numbers a code; their tensors tell all but how codes are compared.

    Args:
        codebook_l2_norm: whether latents and codes are of unit length, as those of all releases.
    """

    def __init__(self, *, codebook_l2_norm: bool = True) -> None:
        self.codebook_l2_norm = codebook_l2_norm

    def quantizer(self, shapes: Shapes) -> GradientVectorQuantizer:
        return published_codes(shapes, Cosine() if self.codebook_l2_norm else Euclidean())
