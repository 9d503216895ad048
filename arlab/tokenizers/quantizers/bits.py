"""Codes that are rows of bits: bit i of an index tells the sign of channel i, 1 for positive; bit 0 is the lowest.

Letters: C vector width = number of bits, T vectors, V = 2^C codes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.ranges import require


def to_ids(bits: Tensor) -> Tensor:
    """Indices Σ_i 2^i bit_i, int64, of bits (..., C), booleans; at most 62 of them."""
    ids: Tensor = (bits.long() << torch.arange(bits.shape[-1], device=bits.device)).sum(-1)
    return ids


def to_bits(ids: Tensor, width: int) -> Tensor:
    """The bits (..., C) of indices, booleans."""
    return (ids[..., None] >> torch.arange(width, device=ids.device)) % 2 == 1


def signs(bits: Tensor, dtype: torch.dtype) -> Tensor:
    """1 for a bit, -1 for none."""
    return bits.to(dtype) * 2 - 1


def check_options(
    entropy_weight: float, diversity: float, inverse_temperature: float, commitment_weight: float
) -> None:
    """See that what LFQ and BSQ are given for their losses is in range.

    Raises:
        ValueError: a number is out of range.
    """
    require("quantizer.entropy_weight", entropy_weight, at_least=0)
    require("quantizer.diversity", diversity, at_least=0)
    require("quantizer.inverse_temperature", inverse_temperature, above=0)
    require("quantizer.commitment_weight", commitment_weight, at_least=0)


def bit_entropy(logit: Tensor) -> Tensor:
    """The entropy of each bit in nats, where it is 1 with probability σ(logit)."""
    return F.softplus(logit) - logit * logit.sigmoid()


def mean_joint(p_TC: Tensor) -> Tensor:
    """mean_t Π_i p_ti^bit_i (1 - p_ti)^(1 - bit_i) for every index, (V,).

    The codes are a product of two halves of the bits, so their mean is a matrix product of two tables of (T, √V).
    """
    half = p_TC.shape[1] // 2
    low, high = _joint(p_TC[:, :half]), _joint(p_TC[:, half:])
    return (high.T @ low).flatten() / len(p_TC)


def _joint(p_TC: Tensor) -> Tensor:
    """The probability of every index under independent bits, (T, 2^C)."""
    table = p_TC.new_ones(len(p_TC), 1)
    for p_T in p_TC.unbind(1):
        table = torch.cat([table * (1 - p_T[:, None]), table * p_T[:, None]], dim=1)
    return table
