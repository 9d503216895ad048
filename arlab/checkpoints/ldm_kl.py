"""The KL autoencoder of latent diffusion (arXiv 2112.10752) as MAR released it; FlowAR and xAR use it as it is."""

from __future__ import annotations

from typing import ClassVar

from arlab.checkpoints.family import TokenizerFamily
from arlab.checkpoints.names import Names
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.vqgan_names import LDM, Style, autoencoder_names, read_autoencoder, shrinks
from arlab.data.facts import DataFacts
from arlab.ranges import require
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.quantizers.kl import KL
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder

# Or 0 for the release's.
_LEAST = 1e-6
# Beside a sum over the values of an image.
_KL_WEIGHT = 1e-6


class LDMKL(TokenizerFamily):
    """kl16.ckpt: 16 x 16 vectors of 16 numbers for 256 x 256 pixels; and others of its make.

    High-Resolution Image Synthesis with Latent Diffusion Models (LDM), arXiv 2112.10752; Autoregressive Image
    Generation without Vector Quantization (MAR), arXiv 2406.11838.

    Args:
        scale: what tokens are multiplied with so that their spread is about 1; 0: the release's, where tokens are as
            wide as its own.
        norm_groups: groups of the norms.
    """

    # Its queries stand apart, which those of other releases of LDM's names do not.
    marks = ("encoder.mid.attn_1.q.weight", "quant_conv.weight", "post_quant_conv.weight")
    # The discriminator and the perceptual network it was trained with.
    unused: ClassVar[tuple[str, ...]] = (r"^loss\.",)

    width: ClassVar[int] = 16
    """Of a token of the release; what another make is scaled by is another number."""
    released_scale: ClassVar[float] = 0.2325
    style: ClassVar[Style] = LDM

    def __init__(self, *, scale: float = 0.0, norm_groups: int = 32) -> None:
        if scale != 0:
            require("scale", scale, at_least=_LEAST, at_most=1 / _LEAST)
        require("norm_groups", norm_groups, at_least=1)
        self.scale = scale
        self.norm_groups = norm_groups

    def shrinks(self, shapes: Shapes) -> int:
        return shrinks(shapes, self.style)

    def tokenizer(self, shapes: Shapes, facts: DataFacts) -> KLTokenizer:
        parts, width = read_autoencoder(shapes, self.style, per_token=2), shapes.size("post_quant_conv.weight", 1)
        if not self.scale and width != self.width:
            raise ValueError(
                f"its tensors do not tell scale; give --set scale=... (tokens of {width} numbers; those of the release "
                f"have {self.width}, and {self.released_scale})"
            )
        channels = [multiplier * parts["channels"] for multiplier in parts["channel_multipliers"]]
        if any(each % self.norm_groups for each in channels):
            raise ValueError(f"norm_groups: must divide the channels {channels}, got {self.norm_groups}")
        return KLTokenizer(
            facts=facts,
            autoencoder=VQGANAutoencoder(**parts, norm_groups=self.norm_groups),
            quantizer=KL(kl_weight=_KL_WEIGHT / facts.dims, scale=self.scale or self.released_scale),
            token_width=width,
        )

    def names(self, tokenizer: Tokenizer) -> Names:
        assert isinstance(tokenizer, KLTokenizer)
        return Names(autoencoder_names(tokenizer, self.style))
