"""Blocks with the norm behind each sum instead of in front of each branch: the transformer as it was first, and BERT.

Letters: B batch, S slots fed, D width.
"""

from __future__ import annotations

import functools

from torch import Tensor, nn

from arlab.backbones.attention import Attention, Context, Mask
from arlab.backbones.backbone import Backbone
from arlab.backbones.block import initialise
from arlab.backbones.cache import Cache
from arlab.backbones.feed_forward import MLP, Activation, FeedForward
from arlab.backbones.modulation import Modulated
from arlab.backbones.norms import LayerNorm, Norm
from arlab.backbones.places import LearnedPlaces, Places, refuse_places
from arlab.backbones.rotary import NoRotary, Rotary
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout, Slots
from arlab.ranges import require

_MOST_LAYERS = 1000
_INIT_STD = 0.02


class PostNorm(Backbone):
    """h ← norm(h + attention(h)), h ← norm(h + feed_forward(h)) in each block, after norm(input + places).

    The defaults are BERT's parts. The condition comes by its slots alone. What leaves the last block is normalised
    already; ways that an ordering has several of are told apart by the head. Deep stacks need a warmup to train.

    Attention Is All You Need, arXiv 1706.03762; BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding, arXiv 1810.04805.

    Args:
        width: D.
        num_layers: blocks.
        attention: heads, biases, query and key norm.
        feed_forward: gated or plain.
        norm: the norm of the input and of every sum.
        rotary: rotary positions.
        places: tables added to the input; null for ``LearnedPlaces``, [] for none.
        dropout: on the input, attention output and feed-forward output.
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
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require("backbone.width", width, at_least=1)
        # Layers are made one by one: memory would run out only after minutes.
        require("backbone.num_layers", num_layers, at_least=1, at_most=_MOST_LAYERS)
        require("backbone.dropout", dropout, at_least=0, below=1)
        self.width = width
        self.num_layers = num_layers
        self.attention = Attention(qkv_bias=True, out_bias=True) if attention is None else attention
        self.feed_forward = MLP(activation=Activation.GELU) if feed_forward is None else feed_forward
        self.norm = LayerNorm(eps=1e-12) if norm is None else norm
        self.rotary = NoRotary() if rotary is None else rotary
        self.places_recipes: list[Places] = [LearnedPlaces()] if places is None else list(places)
        self.dropout = nn.Dropout(dropout)

    def bind(self, layout: Layout, num_condition: int, ways: int) -> None:
        self.num_condition, self.finest, self.num_ways = num_condition, layout.finest, ways
        self.places = nn.ModuleList(p.build(self.width, layout, num_condition) for p in self.places_recipes)
        self.norm_in = self.norm.build(self.width)
        self.blocks = nn.ModuleList(_Block(self, layer) for layer in range(self.num_layers))
        self.apply(functools.partial(initialise, init_std=_INIT_STD))

    @property
    def any_layout(self) -> bool:
        return all(places.any_layout for places in self.places_recipes)

    @property
    def modulates(self) -> bool:
        return False

    def refuse(self, ordering: Ordering, layout: Layout) -> None:
        refuse_places(self.places_recipes, ordering, layout)

    def modulate(self, condition_BSD: Tensor, rows: Slots | None = None) -> Modulated:
        return Modulated(blocks=(None,) * self.num_layers)

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
        h_BSD = self.dropout(self.norm_in(h_BSD))
        head_width = self.attention.head_width(self.width)
        rotation = self.rotary.rotation(rows, layout, head_width, self.num_condition, self.finest)
        context = Context(mask, rotation, cache)
        for block in self.blocks:
            h_BSD = block(h_BSD, context)
        return (h_BSD,) * self.num_ways


class _Block(nn.Module):
    def __init__(self, recipe: PostNorm, layer: int) -> None:
        super().__init__()
        width, dropout = recipe.width, recipe.dropout.p
        self.attention = recipe.attention.build(width, layer, dropout)
        self.attention_norm = recipe.norm.build(width)
        self.feed_forward = recipe.feed_forward.build(width, dropout)
        self.feed_forward_norm = recipe.norm.build(width)

    def forward(self, h_BSD: Tensor, context: Context) -> Tensor:
        h_BSD = self.attention_norm(h_BSD + self.attention(h_BSD, context))
        out_BSD: Tensor = self.feed_forward_norm(h_BSD + self.feed_forward(h_BSD))
        return out_BSD
