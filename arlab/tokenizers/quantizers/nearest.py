"""The choice of the nearest of listed codes, with its losses: what every codebook with a table has in common.

Letters: C vector width, V codebook size, T vectors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from arlab.ranges import require
from arlab.tokenizers.quantizers.entropy import EntropyLoss
from arlab.tokenizers.quantizers.passage import GradientPassage
from arlab.tokenizers.quantizers.quantizer import Coded
from arlab.tokenizers.quantizers.similarity import Similarity, relative_distance

_MOST_CODES = 2**20  # the distances of 1,000 latents then fill 4 GiB


@dataclass(frozen=True)
class Nearest:
    """z' = place(z), e' = place(e), id = argmin_v |z' - e'_v|; vectors = passage(z', e'_id);
    loss = commitment_weight · mean (z' - sg(e'))² + codebook_weight · mean (e' - sg(z'))² + entropy loss.

    Attributes:
        similarity: where latents and codes are compared.
        passage: how the decoder's gradient passes.
        entropy: its loss; None for none.
        commitment_weight: how strongly latents are drawn to their codes.
        codebook_weight: how strongly codes are drawn to their latents.
    """

    similarity: Similarity
    passage: GradientPassage
    entropy: EntropyLoss | None
    commitment_weight: float
    codebook_weight: float = 0.0

    def code(self, z_TC: Tensor, codebook_VC: Tensor, *, training: bool) -> Coded:
        """The nearest codes with what is learned from them; the entropy loss only in training."""
        z_TC, codebook_VC = self.similarity.place(z_TC), self.similarity.place(codebook_VC)
        compared = self.similarity.compared
        distance_TV = relative_distance(compared(z_TC), compared(codebook_VC))
        ids_T = distance_TV.argmin(-1)
        code_TC = F.embedding(ids_T, codebook_VC)
        loss = self.commitment_weight * F.mse_loss(z_TC, code_TC.detach())
        if self.codebook_weight > 0:
            loss = loss + self.codebook_weight * F.mse_loss(code_TC, z_TC.detach())
        regularizer = loss.new_zeros(())
        figures: Mapping[str, Tensor] = {}
        if self.entropy is not None and training:
            regularizer, figures = self.entropy(distance_TV)
            loss = loss + regularizer
        return Coded(ids_T, self.passage(z_TC, code_TC), code_TC, loss, regularizer, figures)


def check_table(*, codebook_size: int, commitment_weight: float) -> None:
    """See that what every codebook with a table is given is in range.

    Raises:
        ValueError: a number is out of range.
    """
    require("quantizer.codebook_size", codebook_size, at_least=2, at_most=_MOST_CODES)
    require("quantizer.commitment_weight", commitment_weight, at_least=0)
