"""TiTok's tokenizers of codes (arXiv 2406.07550): an image as 32 to 256 tokens without places."""

from __future__ import annotations

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.norms import LayerNorm
from arlab.checkpoints.family import TokenizerFamily
from arlab.checkpoints.names import Names
from arlab.checkpoints.shapes import Shapes, square
from arlab.checkpoints.sizes import ratio_of
from arlab.checkpoints.titok_names import CODEBOOK, CODES, SOFT, titok_names
from arlab.data.facts import DataFacts
from arlab.ranges import require
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.similarity import Cosine, Euclidean
from arlab.tokenizers.titok import TiTokAutoencoder, Tower
from arlab.tokenizers.titok_pixels import PatchPixels, Pixels, SoftCodes
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan_parts import OutputShortcut

_UP = "pixel_decoder.up.{}.block.0.conv1.weight"
_NORM_GROUPS = 32


class TiTokVQ(TokenizerFamily):
    """TiTok's tokenizers: L-32, B-64 and S-128, decoded by MaskGIT's VQGAN, and those of one stage (BL-64, SL-256).

    An Image is Worth 32 Tokens for Reconstruction and Generation (TiTok), arXiv 2406.07550.

    Args:
        cosine: codes and latents are compared at length one: true of L-32, B-64 and S-128, false of those of one stage.
        head_width: numbers of an attention head.
        norm_eps: added to variances.
    """

    marks = (
        "latent_tokens",
        "encoder.latent_token_positional_embedding",
        "decoder.mask_token",
        CODEBOOK,
    )

    def __init__(self, *, cosine: bool | None = None, head_width: int = 64, norm_eps: float = 1e-5) -> None:
        require("head_width", head_width, at_least=1)
        require("norm_eps", norm_eps, at_least=0)
        self.cosine = cosine
        self.head_width = head_width
        self.norm_eps = norm_eps

    def shrinks(self, shapes: Shapes) -> int:
        # Of a patch: its tokens stand for no pixels of their own.
        return shapes.axes("encoder.patch_embed.weight", 4)[-1]

    def image_size(self, shapes: Shapes, grid: tuple[int, int]) -> tuple[int, int]:
        # The class is the first of the places.
        rows, columns = square(shapes.size("encoder.positional_embedding") - 1, "encoder.positional_embedding")
        return rows * self.shrinks(shapes), columns * self.shrinks(shapes)

    def tokenizer(self, shapes: Shapes, facts: DataFacts) -> VQTokenizer:
        codebook_size, token_width = shapes.axes(CODEBOOK, 2)
        size = self.image_size(shapes, (0, 0))
        if facts.image_size != size:
            given = " x ".join(map(str, facts.image_size))
            told = " x ".join(map(str, size))
            raise ValueError(f"image_size: its patches make {told} pixels, got {given}; give --image_size {size[0]}")
        return VQTokenizer(
            facts=facts,
            autoencoder=TiTokAutoencoder(
                patch_size=self.shrinks(shapes),
                num_tokens=shapes.size("latent_tokens"),
                encoder=self._tower(shapes, "encoder"),
                decoder=self._tower(shapes, "decoder"),
                pixels=_pixels(shapes),
                # The same switch of the published code.
                legacy_reshape=SOFT in shapes,
                image_range=(0, 1),
            ),
            quantizer=GradientVectorQuantizer(
                codebook_size=codebook_size,
                similarity=Cosine() if self.need(self.cosine) else Euclidean(),
                start_from_data=False,
                revive_below=0,
            ),
            token_width=token_width,
        )

    def _tower(self, shapes: Shapes, half: str) -> Tower:
        hidden, width = shapes.axes(f"{half}.transformer.0.mlp.c_fc.weight", 2)
        if width % self.head_width:
            raise ValueError(f"head_width: {self.head_width} does not divide the {half}'s width {width}")
        return Tower(
            width=width,
            num_layers=shapes.count(f"{half}.transformer.{{}}.mlp.c_fc.weight"),
            attention=Attention(num_heads=width // self.head_width, qkv_bias=True, out_bias=True),
            feed_forward=MLP(ratio=ratio_of(hidden, width), activation=Activation.GELU),
            norm=LayerNorm(eps=self.norm_eps),
        )

    def names(self, tokenizer: Tokenizer) -> Names:
        assert isinstance(tokenizer, VQTokenizer)
        return titok_names(tokenizer)


def _pixels(shapes: Shapes) -> Pixels:
    if SOFT not in shapes:
        return PatchPixels()
    codebook_size, code_width = shapes.axes(CODES, 2)
    widths = [shapes.axes(_UP.format(level), 4)[0] for level in range(shapes.count(_UP))]
    return SoftCodes(
        codebook_size=codebook_size,
        code_width=code_width,
        channels=widths[0],
        channel_multipliers=[width // widths[0] for width in widths],
        blocks=shapes.count("pixel_decoder.up.0.block.{}.conv1.weight"),
        shortcut=OutputShortcut(),
        norm_groups=_NORM_GROUPS,
    )
