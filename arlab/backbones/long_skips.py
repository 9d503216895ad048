"""Blocks with long skips: what left an early block is seen again by a late one (U-ViT).

Letters: B batch, S slots fed, D width, n pairs of blocks.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from arlab.backbones.attention import Attention, Context, Mask
from arlab.backbones.block import Block, initialise
from arlab.backbones.block_stack import BlockStack
from arlab.backbones.cache import Cache
from arlab.backbones.feed_forward import MLP, Activation, FeedForward
from arlab.backbones.modulation import Modulated, Modulation, NoModulation
from arlab.backbones.norms import LayerNorm, Norm
from arlab.backbones.places import LearnedPlaces, Places
from arlab.backbones.rotary import NoRotary, Rotary
from arlab.orderings.step import Layout, Slots
from arlab.ranges import require

_MOST_LAYERS = 1000
_INIT_STD = 0.02


class LongSkips(BlockStack):
    """Blocks of which the last also sees what left the first, the last but one what left the second, and so on.

        h_i = in_i(h_{i-1}), i = 1..n;  the blocks in the middle;  h ← out_i(W_i [h, h_{n+1-i}]), i = 1..n

    W_i are linear maps, (B, S, 2 D) to (B, S, D). What a slot sees so left that slot, so caches work as in a
    ``Transformer``. The defaults are U-ViT's parts. Each further way leaves at the same depth, by a norm of its own.

    All are Worth Words: A ViT Backbone for Diffusion Models (U-ViT), arXiv 2209.12152.

    Args:
        width: D.
        num_skips: n, so many blocks before and after those in the middle.
        num_middle_layers: blocks that have no skip.
        attention: heads, biases, query and key norm.
        feed_forward: gated or plain.
        norm: the norm of blocks and ways out.
        rotary: rotary positions.
        places: tables added to the input; null for ``LearnedPlaces``, [] for none.
        modulation: how the condition reaches the blocks beside the prefix.
        dropout: on attention output and feed-forward output.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        num_skips: int = 2,
        num_middle_layers: int = 1,
        attention: Attention | None = None,
        feed_forward: FeedForward | None = None,
        norm: Norm | None = None,
        rotary: Rotary | None = None,
        places: list[Places] | None = None,
        modulation: Modulation | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require("backbone.width", width, at_least=1)
        # Layers are made one by one: memory would run out only after minutes.
        require("backbone.num_skips", num_skips, at_least=1, at_most=_MOST_LAYERS)
        require("backbone.num_middle_layers", num_middle_layers, at_least=0, at_most=_MOST_LAYERS)
        require("backbone.dropout", dropout, at_least=0, below=1)
        self.width = width
        self.num_skips = num_skips
        self.num_middle_layers = num_middle_layers
        self.attention = Attention(out_bias=True) if attention is None else attention
        self.feed_forward = MLP(activation=Activation.GELU) if feed_forward is None else feed_forward
        self.norm = LayerNorm(eps=1e-5) if norm is None else norm
        self.rotary = NoRotary() if rotary is None else rotary
        self.places_recipes: list[Places] = [LearnedPlaces()] if places is None else list(places)
        self.modulation = NoModulation() if modulation is None else modulation
        self.dropout = dropout

    def bind(self, layout: Layout, num_condition: int, ways: int) -> None:
        self.num_condition = num_condition
        self.finest = layout.finest
        first_out = self.num_skips + self.num_middle_layers
        depth = first_out + self.num_skips
        self.in_blocks = self._blocks(range(self.num_skips))
        self.middle_blocks = self._blocks(range(self.num_skips, first_out))
        self.skips = nn.ModuleList(nn.Linear(2 * self.width, self.width) for _ in range(self.num_skips))
        self.out_blocks = self._blocks(range(first_out, depth))
        self.norms = nn.ModuleList(self.norm.build(self.width) for _ in range(ways))
        self.conditioning = self.modulation.build(self.width, depth, num_condition + layout.num_tokens)
        self.places = nn.ModuleList(p.build(self.width, layout, num_condition) for p in self.places_recipes)
        self.apply(functools.partial(initialise, init_std=_INIT_STD))
        self.conditioning.reset_parameters()

    def _blocks(self, layers: range) -> nn.ModuleList:
        return nn.ModuleList(
            Block(
                width=self.width,
                layer=layer,
                attention=self.attention,
                feed_forward=self.feed_forward,
                norm=self.norm,
                dropout=self.dropout,
            )
            for layer in layers
        )

    def forward(
        self,
        h_BSD: Tensor,
        rows: Slots,
        mask: Mask,
        modulated: Modulated,
        layout: Layout,
        cache: Cache | None = None,
    ) -> tuple[Tensor, ...]:
        for places in self.places:
            h_BSD = h_BSD + places(rows, layout)
        head_width = self.attention.head_width(self.width)
        rotation = self.rotary.rotation(rows, layout, head_width, self.num_condition, self.finest)
        context, shifts = Context(mask, rotation, cache), iter(modulated.blocks)
        seen = []
        for block in self.in_blocks:
            h_BSD = block(h_BSD, context, next(shifts))
            seen.append(h_BSD)
        for block in self.middle_blocks:
            h_BSD = block(h_BSD, context, next(shifts))
        for skip, block in zip(self.skips, self.out_blocks, strict=True):
            h_BSD = block(skip(torch.cat((h_BSD, seen.pop()), -1)), context, next(shifts))
        return tuple(self.leave(norm, h_BSD, modulated) for norm in self.norms)
