"""A decoder-only transformer of small typed parts: LlamaGen's, VAR's and NAR's are settings of it.

Letters: B batch, S slots fed, D width.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from arlab.backbones.attention import Attention, Context, Mask
from arlab.backbones.block import Block, initialise
from arlab.backbones.block_stack import BlockStack
from arlab.backbones.cache import Cache
from arlab.backbones.feed_forward import FeedForward, GatedMLP
from arlab.backbones.modulation import Modulated, Modulation, NoModulation
from arlab.backbones.norms import Norm, RMSNorm
from arlab.backbones.places import Places
from arlab.backbones.rotary import AxialRotary, Rotary
from arlab.orderings.step import Layout, Slots
from arlab.ranges import require

_MOST_LAYERS = 1000


class Transformer(BlockStack):
    """Pre-norm blocks h += gate · branch(norm(h) · (1 + scale) + shift), attention then feed-forward.

    The defaults are LlamaGen's: RMSNorm, SwiGLU, rotary positions that erase condition slots, no biases. Way 0 leaves
    after ``num_layers`` blocks; each further way after ``way_layers`` more, by a norm of its own (NAR).

    Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation (LlamaGen), arXiv 2406.06525.

    Args:
        width: D.
        num_layers: blocks up to the first way out.
        attention: heads, biases, query and key norm.
        feed_forward: gated or plain.
        norm: the norm of blocks and ways out.
        rotary: rotary positions (``NoRotary`` for none).
        places: learned tables added to the input.
        modulation: how the condition reaches the blocks beside the prefix.
        dropout: on the input, attention output and feed-forward output.
        drop_path: probability of dropping the last block's branches, rising linearly from 0 at the first.
        way_layers: further blocks for each further way.
        init_std: standard deviation of initial weights.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        num_layers: int = 4,
        attention: Attention | None = None,
        feed_forward: FeedForward | None = None,
        norm: Norm | None = None,
        rotary: Rotary | None = None,
        places: list[Places] | None = None,
        modulation: Modulation | None = None,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        way_layers: int = 1,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        require("backbone.width", width, at_least=1)
        # Layers are made one by one: memory would run out only after minutes.
        require("backbone.num_layers", num_layers, at_least=1, at_most=_MOST_LAYERS)
        require("backbone.way_layers", way_layers, at_least=1, at_most=_MOST_LAYERS)
        require("backbone.init_std", init_std, at_least=0)
        require("backbone.dropout", dropout, at_least=0, below=1)
        require("backbone.drop_path", drop_path, at_least=0, below=1)
        self.width = width
        self.num_layers = num_layers
        self.attention = Attention() if attention is None else attention
        self.feed_forward = GatedMLP() if feed_forward is None else feed_forward
        self.norm = RMSNorm() if norm is None else norm
        self.rotary = AxialRotary() if rotary is None else rotary
        self.places_recipes = list(places or [])
        self.modulation = NoModulation() if modulation is None else modulation
        self.dropout = nn.Dropout(dropout)
        self.drop_path = drop_path
        self.way_layers = way_layers
        self.init_std = init_std

    def bind(self, layout: Layout, num_condition: int, ways: int) -> None:
        self.num_condition = num_condition
        self.out_after = [self.num_layers + way * self.way_layers for way in range(ways)]
        self.finest = layout.finest
        depth = self.out_after[-1]
        rates = torch.linspace(0, self.drop_path, depth, device="cpu").tolist()
        self.blocks = nn.ModuleList(
            Block(
                width=self.width,
                layer=layer,
                attention=self.attention,
                feed_forward=self.feed_forward,
                norm=self.norm,
                dropout=self.dropout.p,
                drop_path=rate,
            )
            for layer, rate in enumerate(rates)
        )
        self.norms = nn.ModuleList(self.norm.build(self.width) for _ in range(ways))
        self.conditioning = self.modulation.build(self.width, depth, num_condition + layout.num_tokens)
        self.places = nn.ModuleList(p.build(self.width, layout, num_condition) for p in self.places_recipes)
        self.apply(functools.partial(initialise, init_std=self.init_std))
        self.conditioning.reset_parameters()

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
        h_BSD = self.dropout(h_BSD)
        head_width = self.attention.head_width(self.width)
        rotation = self.rotary.rotation(rows, layout, head_width, self.num_condition, self.finest)
        context = Context(mask, rotation, cache)
        ways = []
        for depth, block in enumerate(self.blocks, start=1):
            h_BSD = block(h_BSD, context, modulated.blocks[depth - 1])
            for way in [w for w, after in enumerate(self.out_after) if after == depth]:
                ways.append(self.leave(self.norms[way], h_BSD, modulated))
        return tuple(ways)
