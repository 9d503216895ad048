"""The convolutional autoencoder of VQGAN, VAR, LlamaGen, MAR and MaskGIT.

Letters: B batch, C channels, H and W image sides, h and w latent sides, Z latent channels, L levels.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from arlab.ranges import require
from arlab.tokenizers.autoencoder import Autoencoder, downsampled
from arlab.tokenizers.vqgan_blocks import GroupNorm, MapAttention, ResidualBlock, Upsample
from arlab.tokenizers.vqgan_parts import (
    MOST_CHANNELS,
    AttentionLevels,
    Downsample,
    InputShortcut,
    LatentConvs,
    Shortcut,
    StridedConv,
)

_MOST_BLOCKS = 1000
_MOST_LEVELS = 16
_FAR = 1e6


class VQGANAutoencoder(Autoencoder):
    """Residual blocks and attention, halved level by level and doubled again: the autoencoder of released tokenizers.

    encode = conv, (blocks, ↓2) · (L - 1), blocks, middle, norm, silu, conv, quant conv
    decode = post quant conv, conv, middle, (blocks, ↑2) · (L - 1), blocks, norm, silu, conv

    L = len(channel_multipliers). With ``channels=160, channel_multipliers=[1, 1, 2, 2, 4], encoder_blocks=2,
    decoder_blocks=3`` and 3 · 3 quant convs it is VAR's; LlamaGen's and MAR's have 128 channels. MaskGIT's has average
    pooling, output shortcuts, no biases, no attention and images in [0, 1].

    Taming Transformers for High-Resolution Image Synthesis (VQGAN), arXiv 2012.09841.

    Args:
        channels: feature channels at the first resolution.
        channel_multipliers: one per resolution, from the image's down; each further one halves both sides.
        encoder_blocks: residual blocks per resolution of the encoder.
        decoder_blocks: residual blocks per resolution of the decoder.
        middle_blocks: residual blocks at the lowest resolution after the encoder's and before the decoder's levels.
        attention: where cells attend to each other.
        latent: the convolutions around the quantizer.
        downsample: how both sides are halved.
        shortcut: what residual blocks add where they change the number of channels.
        bias: whether the encoder's first convolution and those of the residual blocks have biases.
        image_range: the values of black and white that the network works with; outside they are -1 and 1.
        norm_groups: groups of GroupNorm.
    """

    decodes_any_grid = True

    def __init__(
        self,
        *,
        channels: int = 32,
        channel_multipliers: list[int] | None = None,
        encoder_blocks: int = 1,
        decoder_blocks: int = 2,
        middle_blocks: int = 2,
        attention: AttentionLevels | None = None,
        latent: LatentConvs | None = None,
        downsample: Downsample | None = None,
        shortcut: Shortcut | None = None,
        bias: bool = True,
        image_range: tuple[float, float] = (-1.0, 1.0),
        norm_groups: int = 32,
    ) -> None:
        super().__init__()
        require("autoencoder.channels", channels, at_least=1, at_most=MOST_CHANNELS)
        require("autoencoder.encoder_blocks", encoder_blocks, at_least=1, at_most=_MOST_BLOCKS)
        require("autoencoder.decoder_blocks", decoder_blocks, at_least=1, at_most=_MOST_BLOCKS)
        require("autoencoder.middle_blocks", middle_blocks, at_least=0, at_most=_MOST_BLOCKS)
        require("autoencoder.norm_groups", norm_groups, at_least=1, at_most=MOST_CHANNELS)
        multipliers = [1, 2, 2] if channel_multipliers is None else list(channel_multipliers)
        if not 1 <= len(multipliers) <= _MOST_LEVELS or min(multipliers) < 1:
            expected = f"needs 1 to {_MOST_LEVELS} positive numbers, got"
            raise ValueError(f"autoencoder.channel_multipliers: {expected} {multipliers}")
        self.widths = [channels * multiplier for multiplier in multipliers]
        require("autoencoder.channel_multipliers: channels · multiplier", max(self.widths), at_most=MOST_CHANNELS)
        if any(width % norm_groups for width in self.widths):
            raise ValueError(f"autoencoder.norm_groups: {norm_groups} does not divide the channels {self.widths}")
        low, high = image_range
        if not (-_FAR <= low < high <= _FAR and high - low >= 1 / _FAR):
            expected = f"must be two rising numbers within ±{_FAR:g}, got"
            raise ValueError(f"autoencoder.image_range: {expected} {low} and {high}")
        self.encoder_blocks, self.decoder_blocks, self.middle_blocks = encoder_blocks, decoder_blocks, middle_blocks
        self.attention = AttentionLevels() if attention is None else attention
        self.encoder_attention, self.decoder_attention = self.attention.resolved(len(multipliers))
        self.latent = LatentConvs() if latent is None else latent
        self.downsample = StridedConv() if downsample is None else downsample
        self.shortcut = InputShortcut() if shortcut is None else shortcut
        self.bias = bias
        self.gain, self.offset = (high - low) / 2, (high + low) / 2
        self.norm_groups = norm_groups

    def latent_shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        return downsampled(image_size, 2 ** (len(self.widths) - 1))

    def bind(self, channels: int, image_size: tuple[int, int], width: int, encoder_width: int) -> None:
        self.latent_shape(image_size)
        z = width if self.latent.z_channels is None else self.latent.z_channels
        # One z per token width that the quantizer asks for: two where it wants means and variances.
        encoder_z = encoder_width if self.latent.z_channels is None else z * -(-encoder_width // width)
        kernel = self.latent.last_kernel
        last = nn.Conv2d(self.widths[-1], encoder_z, kernel, padding=kernel // 2)
        self.encoder = self._encoder(channels, last)
        self.quant_conv = self.latent.quant_conv(encoder_z, encoder_width)
        self.post_quant_conv = self.latent.quant_conv(width, z)
        self.decoder = self._decoder(z, channels)

    def _encoder(self, channels: int, last: nn.Module) -> nn.Sequential:
        parts = OrderedDict[str, nn.Module]()
        parts["conv_in"] = nn.Conv2d(channels, self.widths[0], 3, padding=1, bias=self.bias)
        before = self.widths[0]
        for level, width in enumerate(self.widths):
            stage = self._stage(before, width, self.encoder_blocks, level in self.encoder_attention)
            if level + 1 < len(self.widths):
                stage["downsample"] = self.downsample.build(width)
            parts[f"level{level}"] = nn.Sequential(stage)
            before = width
        parts["middle"] = self._middle()
        parts |= {"norm_out": GroupNorm(self.norm_groups, self.widths[-1]), "silu": nn.SiLU()}
        parts["conv_out"] = last
        return nn.Sequential(parts)

    def _decoder(self, z: int, channels: int) -> nn.Sequential:
        parts = OrderedDict[str, nn.Module](conv_in=nn.Conv2d(z, self.widths[-1], 3, padding=1))
        parts["middle"] = self._middle()
        before = self.widths[-1]
        for level, width in reversed(list(enumerate(self.widths))):
            stage = self._stage(before, width, self.decoder_blocks, level in self.decoder_attention)
            if level:
                stage["upsample"] = Upsample(width)
            parts[f"level{level}"] = nn.Sequential(stage)
            before = width
        parts |= {"norm_out": GroupNorm(self.norm_groups, self.widths[0]), "silu": nn.SiLU()}
        parts["conv_out"] = nn.Conv2d(self.widths[0], channels, 3, padding=1)
        return nn.Sequential(parts)

    def _stage(self, before: int, width: int, blocks: int, attention: bool) -> OrderedDict[str, nn.Module]:
        """The blocks of one resolution, each followed by attention where there is some."""
        parts = OrderedDict[str, nn.Module]()
        for block in range(blocks):
            parts[f"block{block}"] = self._block(before if block == 0 else width, width)
            if attention:
                parts[f"attention{block}"] = MapAttention(width, self.norm_groups)
        return parts

    def _middle(self) -> nn.Sequential:
        width = self.widths[-1]
        parts = OrderedDict[str, nn.Module]()
        for block in range(self.middle_blocks):
            parts[f"block{block}"] = self._block(width, width)
            if block == 0 and self.attention.middle:
                parts["attention"] = MapAttention(width, self.norm_groups)
        return nn.Sequential(parts)

    def _block(self, channels: int, out_channels: int) -> ResidualBlock:
        return ResidualBlock(channels, out_channels, self.norm_groups, self.bias, self.shortcut)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        z_BZhw: Tensor = self.quant_conv(self.encoder(image_BCHW * self.gain + self.offset))
        return z_BZhw

    def decode(self, z: Tensor) -> Tensor:
        image_BCHW: Tensor = self.decoder(self.post_quant_conv(z))
        return (image_BCHW - self.offset) / self.gain

    @property
    def last_layer(self) -> Tensor:
        convolution = self.decoder.conv_out
        assert isinstance(convolution, nn.Conv2d)
        return convolution.weight
