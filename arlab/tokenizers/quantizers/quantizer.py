"""The contract of a quantizer: latent vectors to indices into a codebook.

Letters: B batch, C vector width, h and w latent sides, V codebook size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from arlab.configurable import Configurable


@dataclass(frozen=True)
class Quantized:
    """What quantising a latent map gives.

    Attributes:
        vectors: (B, C, h, w) the chosen code vectors; gradients pass straight through to the latents.
        ids: (B, h, w) int64 which codes they are.
        loss: scalar added to the training loss.
        usage: scalar, the share of the codebook that this batch hits.
        revived: scalar, how many dead codes were replaced in this step; 0 outside training.
    """

    vectors: Tensor
    ids: Tensor
    loss: Tensor
    usage: Tensor
    revived: Tensor


class Quantizer(nn.Module, Configurable, ABC):
    """Maps latent vectors to codes; configured first, bound to the width of a vector later.

    Under autocast it computes in float32 (``arlab.precision.in_float32``): near-equal distances must not decide anew.
    """

    codebook_size: int
    """V."""

    @abstractmethod
    def bind(self, width: int) -> None:
        """Create the codebook."""

    @abstractmethod
    def forward(self, z_BChw: Tensor) -> Quantized:
        """Quantise a latent map."""

    @abstractmethod
    def lookup(self, ids: Tensor) -> Tensor:
        """The code vectors of indices of any shape, (..., C)."""


class CodeCounts(Metric):
    """How often each code was hit over a whole evaluation, summed over processes.

    Args:
        codebook_size: V.
    """

    counts: Tensor

    def __init__(self, codebook_size: int) -> None:
        super().__init__()
        self.add_state("counts", default=torch.zeros(codebook_size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, ids: Tensor) -> None:
        """Count the codes in ``ids``."""
        self.counts += count_codes(ids, len(self.counts))

    def compute(self) -> Tensor:
        """(V,) int64."""
        return self.counts


def count_codes(ids: Tensor, codebook_size: int) -> Tensor:
    """How often each code occurs, (V,) int64."""
    return torch.bincount(ids.flatten(), minlength=codebook_size)


def usage(counts_V: Tensor) -> Tensor:
    """The share of codes hit at least once, in [0, 1]."""
    return (counts_V > 0).float().mean()


def perplexity(counts_V: Tensor) -> Tensor:
    """exp(-Σ p ln p) for p = counts / Σ counts: V if all codes are equally frequent, 1 if only one occurs."""
    p_V = counts_V.float() / counts_V.sum().clamp(min=1)
    nats: Tensor = torch.special.entr(p_V).sum()
    return nats.exp()
