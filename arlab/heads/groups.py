"""Attention among the tokens that are drawn together.

Letters: R rows of a batch, H heads, M tokens predicted, E width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_FEW = 16


class Groups:
    """Which tokens see each other: those of one step of decoding.

    Over M tokens of which groups of n_g lie side by side, one attention a group costs Σ n_g², one for all with a
    block-diagonal mask M². Scales are few and large: 341 tokens of five cost 0.6, 680 of ten 0.24 of it, in so many
    calls. Where groups are many (a token a step), or do not lie side by side, one masked call is cheaper.

    Args:
        group_M: [M], equal for tokens of one group.
    """

    def __init__(self, group_M: Tensor) -> None:
        sizes = group_M.unique_consecutive(return_counts=True)[1].tolist()
        apart = len(sizes) > len(group_M.unique())
        self.sizes: list[int] | None = None if apart or len(sizes) > _FEW else sizes
        self.mask = group_M[:, None] == group_M if self.sizes is None else None

    def attend(self, q_RHME: Tensor, k_RHME: Tensor, v_RHME: Tensor) -> Tensor:
        """softmax(q kᵀ / √E) v within each group, (R, H, M, E)."""
        if self.sizes is None:
            return F.scaled_dot_product_attention(q_RHME, k_RHME, v_RHME, attn_mask=self.mask)
        parts = zip(*(each.split(self.sizes, 2) for each in (q_RHME, k_RHME, v_RHME)), strict=True)
        return torch.cat([F.scaled_dot_product_attention(*part) for part in parts], 2)
