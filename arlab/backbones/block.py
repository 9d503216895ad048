"""The block of transformers: attention, then feed-forward, each in front of its norm.

Letters: B batch, S slots fed, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from arlab.backbones.attention import Attention, Context
from arlab.backbones.feed_forward import FeedForward
from arlab.backbones.modulation import Shift
from arlab.backbones.norms import Norm


class Block(nn.Module):
    """h += gate · branch(norm(h) · (1 + scale) + shift), attention then feed-forward.

    Args:
        width: D.
        layer: its number in the cache.
        attention: the first branch.
        feed_forward: the second.
        norm: in front of each.
        dropout: on what the branches say.
        drop_path: probability of dropping a branch, for whole samples (stochastic depth).
    """

    def __init__(
        self,
        *,
        width: int,
        layer: int,
        attention: Attention,
        feed_forward: FeedForward,
        norm: Norm,
        dropout: float,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention_norm = norm.build(width)
        self.attention = attention.build(width, layer, dropout)
        self.feed_forward_norm = norm.build(width)
        self.feed_forward = feed_forward.build(width, dropout)
        self.drop_path = drop_path

    def forward(self, h_BSD: Tensor, context: Context, shifts: tuple[Shift, Shift] | None) -> Tensor:
        if shifts is None:
            h_BSD = h_BSD + self._drop(self.attention(self.attention_norm(h_BSD), context))
            return h_BSD + self._drop(self.feed_forward(self.feed_forward_norm(h_BSD)))
        first, second = shifts
        branch_BSD = self.attention(self.attention_norm(h_BSD) * (1 + first.scale) + first.shift, context)
        h_BSD = h_BSD + self._drop(branch_BSD * first.gate)
        branch_BSD = self.feed_forward(self.feed_forward_norm(h_BSD) * (1 + second.scale) + second.shift)
        return h_BSD + self._drop(branch_BSD * second.gate)

    def _drop(self, branch_BSD: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch_BSD
        keep_B11 = torch.rand(branch_BSD.shape[0], 1, 1, device=branch_BSD.device) >= self.drop_path
        return branch_BSD * keep_B11 / (1 - self.drop_path)


def initialise(module: nn.Module, init_std: float) -> None:
    """Start a linear map or a table of places from normal weights, biases from zero; other modules are left alone."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=init_std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    table = getattr(module, "table", None)
    if isinstance(table, nn.Parameter):
        nn.init.normal_(table, std=init_std)
