"""Vector quantisation with codes that share one learned linear map, so that none is left behind.

Letters: C vector width, V codebook size, T vectors quantised.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.ranges import require
from arlab.tokenizers.quantizers.entropy import EntropyLoss
from arlab.tokenizers.quantizers.nearest import Nearest, check_table
from arlab.tokenizers.quantizers.passage import GradientPassage, StraightThrough
from arlab.tokenizers.quantizers.quantizer import Codebook, Coded
from arlab.tokenizers.quantizers.similarity import Euclidean, Similarity


class SimVQ(Codebook):
    """Each latent becomes its nearest code; the codes are fixed Gaussian vectors under one learned matrix.

    e_v = b_v W, b_v ~ N(0, 1 / C) fixed, W learned;  id = argmin_v |z - e_v|;
    loss = codebook_weight · mean (e - sg(z))² + commitment_weight · mean (z - sg(e))² + entropy loss

    Every batch moves every code, so that codes do not die and large codebooks stay in use; nothing is started from
    data or revived. Weight decay leaves W alone.

    vector-quantize-pytorch's computes the same, and the tests compare with it; this one shares its losses, similarity
    and passage with the other codebooks, and maps the codebook once where that would take three times.

    Addressing Representation Collapse in Vector Quantized Models with One Linear Layer (SimVQ), arXiv 2411.02038.

    Args:
        codebook_size: V.
        codebook_weight: how strongly codes are drawn to their latents.
        commitment_weight: how strongly latents are drawn to their codes.
        similarity: how latents and codes are compared; none: Euclidean.
        passage: how the decoder's gradient passes to the latents; none: StraightThrough.
        entropy: a loss for sure and varied choices; none: there is none.
        seed: of the fixed vectors and the first matrix.
    """

    no_weight_decay = True
    basis: Tensor

    def __init__(
        self,
        *,
        codebook_size: int = 512,
        codebook_weight: float = 1.0,
        commitment_weight: float = 0.25,
        similarity: Similarity | None = None,
        passage: GradientPassage | None = None,
        entropy: EntropyLoss | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_table(codebook_size=codebook_size, commitment_weight=commitment_weight)
        require("quantizer.codebook_weight", codebook_weight, above=0)
        self.codebook_size = codebook_size
        self.seed = seed
        self.similarity = Euclidean() if similarity is None else similarity
        self.passage = StraightThrough() if passage is None else passage
        self._nearest = Nearest(self.similarity, self.passage, entropy, commitment_weight, codebook_weight)

    def extra_repr(self) -> str:
        return f"codebook_size={self.codebook_size}"

    def create(self, width: int) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        self.register_buffer("basis", torch.randn(self.codebook_size, width, generator=generator) / math.sqrt(width))
        # Uniform in ±1 / √C, as a linear layer begins.
        drawn_CC = torch.rand(width, width, generator=generator)
        self.transform = nn.Parameter((2 * drawn_CC - 1) / math.sqrt(width))

    def lookup(self, ids: Tensor) -> Tensor:
        return self.similarity.place(F.embedding(ids, self.basis) @ self.transform)

    def quantise(self, z_TC: Tensor) -> Coded:
        return self._nearest.code(z_TC, self.basis @ self.transform, training=self.training)
