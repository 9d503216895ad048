"""A transformer autoencoder whose latents are no grid but K tokens: queries that read the image.

Letters: B batch, C channels or vector width, H and W image sides, P patches, K tokens, S slots (patches and tokens),
D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.backbones.attention import Attention, Mask
from arlab.backbones.feed_forward import MLP, FeedForward
from arlab.backbones.norms import LayerNorm, Norm
from arlab.ranges import require
from arlab.tokenizers.autoencoder import Autoencoder
from arlab.tokenizers.blocks import Blocks, Table, start_from_content, start_to_content
from arlab.tokenizers.nested_dropout import NestedDropout

_MOST_LAYERS = 1000
_MOST_TOKENS = 2**16


class ViTAutoencoder(Autoencoder):
    """Learned queries read the image's patches; learned patch vectors read the tokens; both by plain transformers.

    encode: [patches + places, queries] → blocks → the queries' outputs → linear, to (B, C, K)
    decode: [patch vectors, linear(z) + places] → blocks → the patches' outputs → linear, to pixels

        tokenizer = VQTokenizer(facts=FashionMNIST().facts, autoencoder=ViTAutoencoder(num_tokens=32))
        tokens = tokenizer.encode(image)      # (B, 1, 28, 28) -> (B, 32)

    The tokens are a sequence without places in the image. With nested dropout the decoder sees in training only the
    first k of an image's tokens, k drawn per image, and one learned vector in place of each of the others; it then
    decodes prefixes of any length (``decode_known``). In evaluation it sees all. The quantizer comes before: its loss
    and its codebook's averages count the tokens that are dropped as well.

    An Image is Worth 32 Tokens for Reconstruction and Generation (TiTok), arXiv 2406.07550.

    Args:
        patch_size: side of a patch in pixels; must divide both sides of the image.
        num_tokens: K.
        width: D.
        encoder_layers: blocks of the encoder.
        decoder_layers: blocks of the decoder.
        attention: heads, biases, query and key norm.
        feed_forward: gated or plain.
        norm: the norm of blocks and outputs.
        nested_dropout: which prefixes of the tokens the decoder learns to do with; none: the whole only.
        causal: a query sees the patches and the queries before it, so a token does not depend on later ones; patches
            then do not see queries.
    """

    def __init__(
        self,
        *,
        patch_size: int = 4,
        num_tokens: int = 32,
        width: int = 128,
        encoder_layers: int = 4,
        decoder_layers: int = 4,
        attention: Attention | None = None,
        feed_forward: FeedForward | None = None,
        norm: Norm | None = None,
        nested_dropout: NestedDropout | None = None,
        causal: bool = False,
    ) -> None:
        super().__init__()
        require("autoencoder.patch_size", patch_size, at_least=1)
        require("autoencoder.num_tokens", num_tokens, at_least=1, at_most=_MOST_TOKENS)
        require("autoencoder.width", width, at_least=1)
        # Layers are made one by one: memory would run out only after minutes.
        require("autoencoder.encoder_layers", encoder_layers, at_least=1, at_most=_MOST_LAYERS)
        require("autoencoder.decoder_layers", decoder_layers, at_least=1, at_most=_MOST_LAYERS)
        self.patch_size = patch_size
        self.num_tokens = num_tokens
        self.width = width
        self.encoder_layers = encoder_layers
        self.decoder_layers = decoder_layers
        self.attention = Attention() if attention is None else attention
        self.feed_forward = MLP() if feed_forward is None else feed_forward
        self.norm = LayerNorm() if norm is None else norm
        self.nested_dropout = nested_dropout
        self.causal = causal
        if width % self.attention.num_heads:
            heads = self.attention.num_heads
            raise ValueError(f"autoencoder.attention.num_heads: {heads} heads do not divide a width of {width}")
        if nested_dropout is not None:
            nested_dropout.choices(num_tokens)

    @property
    def decodes_prefixes(self) -> bool:
        return self.nested_dropout is not None

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
        self.patch = nn.Conv2d(channels, self.width, self.patch_size, stride=self.patch_size)
        self.patch_places = Table(patches, self.width)
        self.queries = Table(self.num_tokens, self.width)
        self.encoder = self._blocks(self.encoder_layers)
        self.to_latent = nn.Linear(self.width, encoder_width)
        self.from_latent = nn.Linear(width, self.width)
        self.token_places = Table(self.num_tokens, self.width)
        self.patch_vectors = Table(patches, self.width)
        # Without nested dropout nothing teaches it; a frozen zero keeps prefixes decodable all the same.
        self.absent = nn.Parameter(torch.zeros(self.width), requires_grad=self.nested_dropout is not None)
        self.decoder = self._blocks(self.decoder_layers)
        self.to_pixels = nn.Linear(self.width, channels * self.patch_size**2)
        self.queries.spread_over(self.patch_places)
        self.token_places.spread_over(self.patch_vectors)
        start_to_content(self.patch)
        start_to_content(self.from_latent)
        start_from_content(self.to_latent)
        start_from_content(self.to_pixels, scale=0.1)  # near gray: noise would take steps to unlearn

    def _blocks(self, num_layers: int) -> Blocks:
        return Blocks(
            width=self.width,
            num_layers=num_layers,
            attention=self.attention,
            feed_forward=self.feed_forward,
            norm=self.norm,
        )

    def encode(self, image_BCHW: Tensor) -> Tensor:
        patches_BPD = self.patch(image_BCHW).flatten(2).transpose(1, 2) + self.patch_places.table
        queries_BKD = self.queries.table.expand(len(image_BCHW), -1, -1)
        h_BSD = self.encoder(torch.cat([patches_BPD, queries_BKD], 1), self._mask(image_BCHW.device))
        z_BCK: Tensor = self.to_latent(h_BSD[:, -self.num_tokens :]).transpose(1, 2)
        return z_BCK

    def _mask(self, device: torch.device) -> Mask:
        if not self.causal:
            return Mask()
        patches = self.grid[0] * self.grid[1]
        rank_S = torch.arange(patches + self.num_tokens, device=device).clamp(min=patches - 1)
        return Mask(rank_S <= rank_S[:, None])

    def decode(self, z: Tensor) -> Tensor:
        if not self.training or self.nested_dropout is None:
            return self._decode(self.from_latent(z.transpose(1, 2)))
        return self.decode_known(z, self.nested_dropout.draw(len(z), self.num_tokens, z.device))

    def decode_known(self, z: Tensor, known: Tensor) -> Tensor:
        return self._decode(self.from_latent(z.transpose(1, 2)).where(known[..., None], self.absent))

    def _decode(self, tokens_BKD: Tensor) -> Tensor:
        vectors_BPD = self.patch_vectors.table.expand(len(tokens_BKD), -1, -1)
        h_BSD = self.decoder(torch.cat([vectors_BPD, tokens_BKD + self.token_places.table], 1), Mask())
        pixels_BPC: Tensor = self.to_pixels(h_BSD[:, : -self.num_tokens])
        return F.pixel_shuffle(pixels_BPC.transpose(1, 2).unflatten(-1, self.grid), self.patch_size)

    @property
    def last_layer(self) -> Tensor:
        return self.to_pixels.weight

    def extra_repr(self) -> str:
        return f"num_tokens={self.num_tokens}, patch_size={self.patch_size}, causal={self.causal}"
