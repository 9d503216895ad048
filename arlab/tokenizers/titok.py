"""TiTok's autoencoder: a vision transformer into K tokens without places, and another one back out of them.

Letters: B batch, C channels or vector width, H and W image sides, h and w sides of the grid of patches, P = h · w
patches, K tokens, S slots (one more, patches and tokens), D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from arlab.backbones.attention import Attention, Mask
from arlab.backbones.feed_forward import MLP, Activation, FeedForward
from arlab.backbones.norms import LayerNorm, Norm
from arlab.configurable import Configurable
from arlab.ranges import require
from arlab.tokenizers.autoencoder import Autoencoder
from arlab.tokenizers.blocks import Blocks, Table, start_from_content, start_to_content
from arlab.tokenizers.titok_pixels import PatchPixels, Pixels

_MOST_LAYERS = 1000
_MOST_TOKENS = 2**16
_FAR = 1e6


class Tower(Configurable):
    """A recipe for one half: norm → pre-norm blocks → norm. TiTok's S, B and L are of 8 · 512, 12 · 768 and 24 · 1024.

    Args:
        width: D.
        num_layers: blocks.
        attention: heads, biases, query and key norm.
        feed_forward: gated or plain.
        norm: the norm in front, of the blocks and at the end.
    """

    def __init__(
        self,
        *,
        width: int = 128,
        num_layers: int = 4,
        attention: Attention | None = None,
        feed_forward: FeedForward | None = None,
        norm: Norm | None = None,
    ) -> None:
        require("tower.width", width, at_least=1)
        # Layers are made one by one: memory would run out only after minutes.
        require("tower.num_layers", num_layers, at_least=1, at_most=_MOST_LAYERS)
        self.width = width
        self.num_layers = num_layers
        self.attention = Attention(qkv_bias=True, out_bias=True) if attention is None else attention
        self.feed_forward = MLP(activation=Activation.GELU) if feed_forward is None else feed_forward
        self.norm = LayerNorm(eps=1e-5) if norm is None else norm
        if width % self.attention.num_heads:
            heads = self.attention.num_heads
            raise ValueError(f"tower.attention.num_heads: {heads} heads do not divide a width of {width}")

    def build(self) -> nn.Module:
        """A fresh module (B, S, D) to (B, S, D)."""
        return _Tower(self)


class TiTokAutoencoder(Autoencoder):
    """The published networks of TiTok: K learned vectors read the image; the vectors of patches read what they became.

    encode: norm [class, patches + places, queries] → tower → the queries' outputs → linear, to (B, C, K)
    decode: norm [class, patch vectors, linear(z) + places] → tower → the patches' outputs → pixels

    'class' is one more learned vector in either half, which nothing reads off. ``ViTAutoencoder`` is the same idea
    without it and without the norms in front, and can be trained to decode prefixes. The published training has a stage
    in which the decoder learns the codes of another tokenizer; here, all is trained at once.

    An Image is Worth 32 Tokens for Reconstruction and Generation (TiTok), arXiv 2406.07550.

    Args:
        patch_size: side of a patch in pixels; must divide both sides of the image.
        num_tokens: K.
        encoder: the tower into the tokens.
        decoder: the tower out of them.
        pixels: how the patches' outputs become an image.
        legacy_reshape: in front of the last linear map the encoder's outputs (B, K, D) are read as (B, D, K) without
            being transposed, as TiTok L-32, B-64 and S-128 were trained: what goes into a token is then a part of
            several queries' outputs.
        image_range: the values of black and white that the networks work with; outside they are -1 and 1.
    """

    def __init__(
        self,
        *,
        patch_size: int = 4,
        num_tokens: int = 32,
        encoder: Tower | None = None,
        decoder: Tower | None = None,
        pixels: Pixels | None = None,
        legacy_reshape: bool = False,
        image_range: tuple[float, float] = (-1.0, 1.0),
    ) -> None:
        super().__init__()
        require("autoencoder.patch_size", patch_size, at_least=1)
        require("autoencoder.num_tokens", num_tokens, at_least=1, at_most=_MOST_TOKENS)
        low, high = image_range
        if not (-_FAR <= low < high <= _FAR and high - low >= 1 / _FAR):
            expected = f"must be two rising numbers within ±{_FAR:g}, got"
            raise ValueError(f"autoencoder.image_range: {expected} {low} and {high}")
        self.patch_size = patch_size
        self.num_tokens = num_tokens
        self.encoder = Tower() if encoder is None else encoder
        self.decoder = Tower() if decoder is None else decoder
        self.pixels = PatchPixels() if pixels is None else pixels
        self.legacy_reshape = legacy_reshape
        self.gain, self.offset = (high - low) / 2, (high + low) / 2

    def latent_shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        self._grid(image_size)
        return (self.num_tokens,)

    def _grid(self, image_size: tuple[int, int]) -> tuple[int, int]:
        if any(side % self.patch_size for side in image_size):
            common = math.gcd(*image_size)
            choices = ", ".join(str(side) for side in range(1, common + 1) if common % side == 0)
            raise ValueError(
                f"autoencoder.patch_size: {self.patch_size} does not divide image_size {tuple(image_size)}; "
                f"choose one of {choices}, or another data.image_size"
            )
        return image_size[0] // self.patch_size, image_size[1] // self.patch_size

    def bind(self, channels: int, image_size: tuple[int, int], width: int, encoder_width: int) -> None:
        self.grid = self._grid(image_size)
        patches = self.grid[0] * self.grid[1]
        inner, outer = self.encoder.width, self.decoder.width
        self.patch = nn.Conv2d(channels, inner, self.patch_size, stride=self.patch_size)
        self.encoder_class = Table(1, inner)
        self.patch_places = Table(patches, inner)
        self.queries = Table(self.num_tokens, inner)
        self.encoder_tower = self.encoder.build()
        self.to_latent = nn.Linear(inner, encoder_width)
        self.from_latent = nn.Linear(width, outer)
        self.decoder_class = Table(1, outer)
        self.patch_vectors = Table(patches, outer)
        self.token_places = Table(self.num_tokens, outer)
        self.decoder_tower = self.decoder.build()
        self.to_image = self.pixels.build(outer, self.grid, self.patch_size, channels)
        self.queries.spread_over(self.patch_places)
        self.token_places.spread_over(self.patch_vectors)
        start_to_content(self.patch)
        start_to_content(self.from_latent)
        if not self.legacy_reshape:
            start_from_content(self.to_latent)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        batch = len(image_BCHW)
        patches_BPD = self.patch(image_BCHW * self.gain + self.offset).flatten(2).transpose(1, 2)
        first_B1D, queries_BKD = (table.table.expand(batch, -1, -1) for table in (self.encoder_class, self.queries))
        h_BSD = self.encoder_tower(torch.cat([first_B1D, patches_BPD + self.patch_places.table, queries_BKD], 1))
        out_BKD = h_BSD[:, -self.num_tokens :]
        if self.legacy_reshape:
            out_BKD = out_BKD.reshape(batch, -1, self.num_tokens).transpose(1, 2)
        z_BCK: Tensor = self.to_latent(out_BKD).transpose(1, 2)
        return z_BCK

    def decode(self, z: Tensor) -> Tensor:
        tokens_BKD = self.from_latent(z.transpose(1, 2)) + self.token_places.table
        first_B1D, vectors_BPD = (t.table.expand(len(z), -1, -1) for t in (self.decoder_class, self.patch_vectors))
        h_BSD = self.decoder_tower(torch.cat([first_B1D, vectors_BPD, tokens_BKD], 1))
        image_BCHW: Tensor = self.to_image(h_BSD[:, 1 : -self.num_tokens].transpose(1, 2).unflatten(2, self.grid))
        return (image_BCHW - self.offset) / self.gain

    @property
    def last_layer(self) -> Tensor:
        return self.to_image.conv_out.weight

    def extra_repr(self) -> str:
        return f"num_tokens={self.num_tokens}, patch_size={self.patch_size}, legacy_reshape={self.legacy_reshape}"


class _Tower(nn.Module):
    def __init__(self, recipe: Tower) -> None:
        super().__init__()
        self.norm_in = recipe.norm.build(recipe.width)
        self.layers = Blocks(
            width=recipe.width,
            num_layers=recipe.num_layers,
            attention=recipe.attention,
            feed_forward=recipe.feed_forward,
            norm=recipe.norm,
        )

    def forward(self, h_BSD: Tensor) -> Tensor:
        out_BSD: Tensor = self.layers(self.norm_in(h_BSD), Mask())
        return out_BSD
