"""The blocks of a transformer autoencoder, which start with places and content in channels of their own.

The first half of the width starts as place, the second as content: attention compares places and carries content, and
what is read off at the end is content. So a token starts as a summary of the pixels near its place, and not as the name
of its place, which says nothing of the image and would take most of a codebook. That is a start only: every weight is
free from the first step.

Letters: S slots, D width.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.backbones.attention import Attention, AttentionModule, Context, Mask
from arlab.backbones.feed_forward import FeedForward
from arlab.backbones.norms import Norm

_SHARPNESS = 1.5
"""Of the first attention by place; tried out on Fashion-MNIST, where 1.5 to 2.5 do equally well."""


class Table(nn.Module):
    """Learned vectors, one per row: a place, and no content yet.

    Args:
        rows: how many.
        width: D.
    """

    no_weight_decay = True

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        place = torch.randn(rows, width // 2)
        # Of mean zero, so that a LayerNorm shifts no place into the content half.
        place = place - place.mean(-1, keepdim=True)
        self.table = nn.Parameter(F.pad(place, (0, width - width // 2)))

    def spread_over(self, places: Table) -> None:
        """Start at places spread evenly over the rows of another table."""
        with torch.no_grad():
            nearest = torch.linspace(0, len(places.table) - 1, len(self.table)).round().long()
            # A little of their own keeps vectors that share a place from staying the same.
            self.table.mul_(0.1).add_(places.table[nearest])


class Blocks(nn.Module):
    """Pre-norm blocks and a norm at the end: h + attention(norm(h)), then h + feed_forward(norm(h)).

    Args:
        width: D.
        num_layers: how many.
        attention: the recipe of the attention.
        feed_forward: the recipe of the feed-forward part.
        norm: the recipe of the norms.
    """

    def __init__(
        self, *, width: int, num_layers: int, attention: Attention, feed_forward: FeedForward, norm: Norm
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            _Block(attention.build(width, layer, 0.0), feed_forward.build(width, 0.0), norm, width)
            for layer in range(num_layers)
        )
        self.norm = norm.build(width)

    def forward(self, h_BSD: Tensor, mask: Mask) -> Tensor:
        """(B, S, D) to (B, S, D)."""
        context = Context(mask)
        for block in self.blocks:
            h_BSD = block(h_BSD, context)
        out_BSD: Tensor = self.norm(h_BSD)
        return out_BSD


class _Block(nn.Module):
    def __init__(self, attention: AttentionModule, feed_forward: nn.Module, norm: Norm, width: int) -> None:
        super().__init__()
        self.attention_norm = norm.build(width)
        self.attention = attention
        self.feed_forward_norm = norm.build(width)
        self.feed_forward = feed_forward
        self._start(width)

    @torch.no_grad()
    def _start(self, width: int) -> None:
        for linear in _linears(self):
            nn.init.xavier_uniform_(linear.weight)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        place = width // 2
        query_DD, key_DD, value_DD = self.attention.qkv.weight.chunk(3)
        query_DD.mul_(_SHARPNESS)[:, place:] = 0
        key_DD.copy_(query_DD)
        value_DD[:, :place] = 0
        self.attention.out.weight[:place] = 0
        for linear in _linears(self.feed_forward):
            if linear.in_features == width:
                linear.weight[:, :place] = 0
            if linear.out_features == width:
                linear.weight[:place] = 0

    def forward(self, h_BSD: Tensor, context: Context) -> Tensor:
        h_BSD = h_BSD + self.attention(self.attention_norm(h_BSD), context)
        out_BSD: Tensor = h_BSD + self.feed_forward(self.feed_forward_norm(h_BSD))
        return out_BSD


def _linears(module: nn.Module) -> Iterator[nn.Linear]:
    return (part for part in module.modules() if isinstance(part, nn.Linear))


@torch.no_grad()
def start_from_content(linear: nn.Linear, scale: float = 1.0) -> None:
    """A linear map from the width outwards starts by reading the content half, times ``scale``."""
    nn.init.xavier_uniform_(linear.weight, gain=scale)
    nn.init.zeros_(linear.bias)
    linear.weight[:, : linear.in_features // 2] = 0


@torch.no_grad()
def start_to_content(linear: nn.Linear | nn.Conv2d) -> None:
    """A linear map from outside to the width starts by writing the content half."""
    place = linear.weight.shape[0] // 2
    linear.weight[:place] = 0
    if linear.bias is not None:
        linear.bias[:place] = 0
