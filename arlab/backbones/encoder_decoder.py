"""Two stacks of blocks: slots that carry something pass both, learned vectors join between them (MAR).

Letters: B batch, S slots fed, E of them that pass the first stage, K key rows (kept and fed), D width.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from arlab.backbones.attention import Attention, Context, Mask
from arlab.backbones.block import Block, initialise
from arlab.backbones.block_stack import BlockStack
from arlab.backbones.cache import Cache
from arlab.backbones.feed_forward import MLP, Activation, FeedForward
from arlab.backbones.modulation import Modulated, Modulation, NoModulation, Shift
from arlab.backbones.norms import LayerNorm, Norm
from arlab.backbones.places import LearnedPlaces, Places
from arlab.backbones.rotary import NoRotary, Rotary
from arlab.orderings.step import Kind, Layout, Slots
from arlab.ranges import require

_MOST_LAYERS = 1000
_INIT_STD = 0.02


class EncoderDecoder(BlockStack):
    """decode(masks and linear(encode(what is known))): LEARNED slots (masks, queries) skip the first stage.

    First stage: places, norm, blocks, norm, over the slots that carry a condition, a token or a canvas; so what they
    say of each other does not depend on what is asked, and few known tokens cost little. Second stage: a linear map of
    these, learned vectors as they are, places of their own, blocks, norm, ``out_places``, over all slots. Where no
    slot is LEARNED all of them pass both stages (xAR, FlowAR). The defaults are MAR's parts. Each further way leaves at
    the same depth, by a norm of its own: ways differ by that norm only.

    Autoregressive Image Generation without Vector Quantization (MAR), arXiv 2406.11838.

    Args:
        width: D.
        num_encoder_layers: blocks of the first stage.
        num_decoder_layers: blocks of the second.
        attention: heads, biases, query and key norm.
        feed_forward: gated or plain.
        norm: the norm of blocks.
        stage_norm: the norm at the beginning and the end of stages; by default as ``norm``.
        rotary: rotary positions, in both stages.
        places: tables added at the beginning of each stage, to each its own; null for ``LearnedPlaces``, [] for none.
        out_places: tables added to what leaves; null for ``LearnedPlaces``, [] for none.
        modulation: how the condition reaches the blocks of both stages beside the prefix.
        dropout: on attention output and feed-forward output.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        num_encoder_layers: int = 2,
        num_decoder_layers: int = 2,
        attention: Attention | None = None,
        feed_forward: FeedForward | None = None,
        norm: Norm | None = None,
        stage_norm: Norm | None = None,
        rotary: Rotary | None = None,
        places: list[Places] | None = None,
        out_places: list[Places] | None = None,
        modulation: Modulation | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require("backbone.width", width, at_least=1)
        # Layers are made one by one: memory would run out only after minutes.
        require("backbone.num_encoder_layers", num_encoder_layers, at_least=1, at_most=_MOST_LAYERS)
        require("backbone.num_decoder_layers", num_decoder_layers, at_least=1, at_most=_MOST_LAYERS)
        require("backbone.dropout", dropout, at_least=0, below=1)
        self.width = width
        self.num_encoder_layers = num_encoder_layers
        self.num_decoder_layers = num_decoder_layers
        self.attention = Attention(qkv_bias=True, out_bias=True) if attention is None else attention
        self.feed_forward = MLP(activation=Activation.GELU) if feed_forward is None else feed_forward
        self.norm = LayerNorm() if norm is None else norm
        self.stage_norm = self.norm if stage_norm is None else stage_norm
        self.rotary = NoRotary() if rotary is None else rotary
        self.places_recipes: list[Places] = [LearnedPlaces()] if places is None else list(places)
        self.out_places_recipes: list[Places] = [LearnedPlaces()] if out_places is None else list(out_places)
        self.modulation = NoModulation() if modulation is None else modulation
        self.dropout = dropout

    def bind(self, layout: Layout, num_condition: int, ways: int) -> None:
        self.num_condition = num_condition
        self.finest = layout.finest
        depth = self.num_encoder_layers + self.num_decoder_layers

        def places(recipes: Sequence[Places]) -> nn.ModuleList:
            return nn.ModuleList(recipe.build(self.width, layout, num_condition) for recipe in recipes)

        self.in_norm = self.stage_norm.build(self.width)
        self.encoder_blocks = nn.ModuleList(self._block(layer) for layer in range(self.num_encoder_layers))
        self.encoder_norm = self.stage_norm.build(self.width)
        self.between = nn.Linear(self.width, self.width)
        self.decoder_blocks = nn.ModuleList(self._block(layer) for layer in range(self.num_encoder_layers, depth))
        self.norms = nn.ModuleList(self.stage_norm.build(self.width) for _ in range(ways))
        self.conditioning = self.modulation.build(self.width, depth, num_condition + layout.num_tokens)
        self.encoder_places = places(self.places_recipes)
        self.decoder_places = places(self.places_recipes)
        self.out_places = places(self.out_places_recipes)
        self.apply(functools.partial(initialise, init_std=_INIT_STD))
        self.conditioning.reset_parameters()

    def _block(self, layer: int) -> Block:
        return Block(
            width=self.width,
            layer=layer,
            attention=self.attention,
            feed_forward=self.feed_forward,
            norm=self.norm,
            dropout=self.dropout,
        )

    @property
    def all_places(self) -> list[Places]:
        return [*self.places_recipes, *self.out_places_recipes]

    def forward(
        self,
        h_BSD: Tensor,
        rows: Slots,
        mask: Mask,
        modulated: Modulated,
        layout: Layout,
        cache: Cache | None = None,
    ) -> tuple[Tensor, ...]:
        first, second = modulated.blocks[: self.num_encoder_layers], modulated.blocks[self.num_encoder_layers :]
        encoded_E = _encoded(rows)
        if encoded_E is None:
            context = Context(_among(mask, None, rows, cache), cache=cache)
            h_BSD = self._encode(h_BSD, rows, context, first, layout)
        else:
            context = Context(_among(mask, encoded_E, rows, cache), cache=cache, fed=encoded_E)
            shifts = [_of_rows(each, encoded_E) for each in first]
            known_BED = self._encode(h_BSD[:, encoded_E], rows.select(encoded_E), context, shifts, layout)
            h_BSD = h_BSD.index_copy(1, encoded_E, known_BED.to(h_BSD.dtype))
        h_BSD = self._placed(self.decoder_places, h_BSD, rows, layout)
        h_BSD = self._through(self.decoder_blocks, h_BSD, rows, Context(mask, cache=cache), second, layout)
        ways = []
        for norm in self.norms:
            out_BSD = self.leave(norm, h_BSD, modulated)
            ways.append(self._placed(self.out_places, out_BSD, rows, layout))
        return tuple(ways)

    def _encode(
        self,
        h_BED: Tensor,
        rows: Slots,
        context: Context,
        shifts: Sequence[tuple[Shift, Shift] | None],
        layout: Layout,
    ) -> Tensor:
        h_BED = self._placed(self.encoder_places, h_BED, rows, layout)
        h_BED = self._through(self.encoder_blocks, self.in_norm(h_BED), rows, context, shifts, layout)
        out_BED: Tensor = self.between(self.encoder_norm(h_BED))
        return out_BED

    def _placed(self, places: nn.ModuleList, h_BSD: Tensor, rows: Slots, layout: Layout) -> Tensor:
        for each in places:
            h_BSD = h_BSD + each(rows, layout)
        return h_BSD

    def _through(
        self,
        blocks: nn.ModuleList,
        h_BSD: Tensor,
        rows: Slots,
        context: Context,
        shifts: Sequence[tuple[Shift, Shift] | None],
        layout: Layout,
    ) -> Tensor:
        head_width = self.attention.head_width(self.width)
        rotation = self.rotary.rotation(rows, layout, head_width, self.num_condition, self.finest)
        context = dataclasses.replace(context, rotation=rotation)
        for block, shift in zip(blocks, shifts, strict=True):
            h_BSD = block(h_BSD, context, shift)
        return h_BSD


def _encoded(rows: Slots) -> Tensor | None:
    """The rows that pass the first stage, [E]; None where all do."""
    kinds, _ = rows.by_kind
    if all(kind is not Kind.LEARNED for kind, _ in kinds):
        return None
    carrying = [index for kind, index in kinds if kind is not Kind.LEARNED]
    return torch.cat(carrying).sort().values if carrying else rows.kind.new_zeros(0)


def _among(mask: Mask, encoded_E: Tensor | None, rows: Slots, cache: Cache | None) -> Mask:
    """Who sees whom among the rows that pass the first stage, of those fed ``encoded_E`` (None: all)."""
    if mask.allowed is None:
        return mask
    kept = None if cache is None else cache.rows()
    if encoded_E is None and kept is None:
        return mask
    fed_E = torch.arange(len(rows), device=rows.kind.device) if encoded_E is None else encoded_E
    # Of the rows kept, too, the learned ones were none of the first stage's.
    kept_K = fed_E[:0] if kept is None else (kept.kind != Kind.LEARNED).nonzero()[:, 0]
    seen_K = torch.cat((kept_K, fed_E + (0 if kept is None else len(kept))))
    return Mask(mask.allowed[..., fed_E, :][..., seen_K])


def _of_rows(shifts: tuple[Shift, Shift] | None, encoded_E: Tensor) -> tuple[Shift, Shift] | None:
    """What modulates these rows."""
    if shifts is None or shifts[0].scale.shape[1] == 1:
        return shifts
    first, second = (Shift(s.scale[:, encoded_E], s.shift[:, encoded_E], s.gate[:, encoded_E]) for s in shifts)
    return first, second
