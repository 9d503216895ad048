"""A frozen tokenizer beside a generator: used by it, but no part of its weights, optimizer or average."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.generators.latent_levels import LatentLevels
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout
from arlab.precision import in_float32
from arlab.pyramids.pyramid import Pyramid
from arlab.tokenizers.tokenizer import Encoded, Tokenizer


class FrozenTokenizer(Configurable):
    """Holds a tokenizer outside the module tree; follows its inputs to their device.

    Being no ``nn.Module`` it never enters a ``state_dict``, an optimizer or an average, and copies of the generator
    share it. It runs outside autocast, so that tokens do not depend on the precision a generator is trained in.

    Args:
        tokenizer: the tokenizer; its weights are ``module``'s, whatever the layout.
        layout: where its tokens are to lie, if not where it says.
        pyramid: along what its tokens are split, if they are.

    Raises:
        ValueError: they cannot lie there.
    """

    def __init__(self, tokenizer: Tokenizer, layout: Layout | None = None, pyramid: Pyramid | None = None) -> None:
        self.module = tokenizer.eval().requires_grad_(False)
        self.layout = tokenizer.layout if layout is None else layout
        self.space = tokenizer.space
        self._pyramid = pyramid
        self._levels = None if pyramid is None else LatentLevels(tokenizer, pyramid, self.layout)
        self._placed = tokenizer.at(self.layout) if self._levels is None else self._levels
        self._elsewhere: FrozenTokenizer | None = None

    @classmethod
    def ordered(cls, tokenizer: Tokenizer, ordering: Ordering) -> FrozenTokenizer:
        """With tokens as an ordering wants them; continuous ones of one level it may split into several.

        Raises:
            ValueError: it cannot order them.
        """
        layout, pyramid, split = tokenizer.layout, tokenizer.pyramid, None
        if not tokenizer.space.discrete and pyramid is None and len(layout.shapes) == 1:
            split = ordering.latent_pyramid(layout)
        if split is not None:
            layout, pyramid = split.layout(layout.finest), split
        ordering.refuse(layout, pyramid)
        return cls(tokenizer, ordering.choose_layout(layout), split)

    def spec(self) -> dict[str, object]:
        return self.module.spec()

    def __deepcopy__(self, memo: dict[int, Any]) -> FrozenTokenizer:
        return self

    @property
    def splits(self) -> bool:
        """Whether the tokenizer's own tokens are others than the ordering's, which are made of them by ``split``."""
        return self._levels is not None

    def on(self, device: torch.device) -> Tokenizer | LatentLevels:
        """The tokenizer whose tokens lie on ``layout``, on this device."""
        held = next(itertools.chain(self.module.parameters(), self.module.buffers()), None)
        if held is not None and held.device != device:
            self.module.to(device)
        return self._placed

    def at(self, layout: Layout) -> FrozenTokenizer:
        """The same weights with tokens on another layout; see ``Tokenizer.at``."""
        if layout == self.layout:
            return self
        # Every pass of a step asks for the same one.
        if self._elsewhere is None or self._elsewhere.layout != layout:
            self._elsewhere = FrozenTokenizer(self.module, layout, self._pyramid)
        return self._elsewhere

    @in_float32
    def canvases(self, tokens: Tensor, levels: Sequence[int]) -> list[Tensor]:
        """For each of these levels those below it put back on one map (B, C, *finest).

        Its weights being frozen there is no graph behind indices; behind vectors there is one where they ask for it.
        """
        return self.on(tokens.device).canvases(tokens, levels)

    @in_float32
    def vectors(self, tokens: Tensor) -> Tensor:
        """The vector of each token, (B, N, C)."""
        return self.on(tokens.device).vectors(tokens)

    @torch.no_grad()
    @in_float32
    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images to tokens."""
        return self.on(image_BCHW.device).encode(image_BCHW)

    @torch.no_grad()
    @in_float32
    def encoded(self, image_BCHW: Tensor) -> Encoded:
        """Images to the tokenizer's own tokens, before ``split``, with what is known of their uncertainty."""
        return self.on(image_BCHW.device).encoded(image_BCHW)

    @torch.no_grad()
    @in_float32
    def split(self, tokens: Tensor) -> Tensor:
        """The tokenizer's own tokens to those that the ordering orders: the same, unless they are split."""
        return tokens if self._levels is None else self._levels.split(tokens)

    @torch.no_grad()
    @in_float32
    def decode(self, tokens: Tensor) -> Tensor:
        """Tokens to images in [-1, 1]."""
        return self.on(tokens.device).decode(tokens).clamp(-1, 1)
