"""The choices between autoencoders of the VQGAN lineage: recipes for what differs from one to the next.

Letters: B batch, C channels, H and W sides of a map.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

from arlab.configurable import Configurable
from arlab.ranges import require

MOST_CHANNELS = 2**16
_MOST_KERNEL = 31


class Downsample(Configurable, ABC):
    """A recipe for halving both sides of a map."""

    @abstractmethod
    def build(self, channels: int) -> nn.Module:
        """A fresh module (B, C, H, W) to (B, C, H/2, W/2)."""


class StridedConv(Downsample):
    """A 3 · 3 convolution of stride 2, the map padded by one zero on the right and below."""

    def build(self, channels: int) -> nn.Module:
        return _StridedConv(channels)


class AveragePool(Downsample):
    """The mean of each 2 · 2 cells."""

    def build(self, channels: int) -> nn.Module:
        return nn.AvgPool2d(2)


class Shortcut(Configurable, ABC):
    """What a residual block adds to its convolutions where it changes the number of channels.

    Where the number stays it is always the block's input.
    """

    @abstractmethod
    def build(self, channels: int, out_channels: int, bias: bool) -> nn.Module:
        """A fresh 1 · 1 convolution to ``out_channels``."""

    @abstractmethod
    def source(self, x_BCHW: Tensor, h_BCHW: Tensor) -> Tensor:
        """What it is applied to: the block's input x, or what the block's convolutions gave, h."""


class InputShortcut(Shortcut):
    """h + conv(x), x the block's input."""

    def build(self, channels: int, out_channels: int, bias: bool) -> nn.Module:
        return nn.Conv2d(channels, out_channels, 1, bias=bias)

    def source(self, x_BCHW: Tensor, h_BCHW: Tensor) -> Tensor:
        return x_BCHW


class OutputShortcut(Shortcut):
    """h + conv(h): the block's input is not used, as in the released MaskGIT-VQGAN.

    MaskGIT: Masked Generative Image Transformer, arXiv 2202.04200.
    """

    def build(self, channels: int, out_channels: int, bias: bool) -> nn.Module:
        return nn.Conv2d(out_channels, out_channels, 1, bias=bias)

    def source(self, x_BCHW: Tensor, h_BCHW: Tensor) -> Tensor:
        return h_BCHW


class AttentionLevels(Configurable):
    """Where cells of a map attend to each other; levels count from the image's (0) down, -1 is the lowest resolution.

    VAR and LlamaGen: the defaults. MAR and LDM: ``decoder=[]``. MaskGIT: nowhere.

    Args:
        encoder: levels whose blocks are each followed by attention; none: the lowest alone.
        decoder: the same in the decoder.
        middle: whether the first middle block is followed by attention, in both.
    """

    def __init__(
        self, *, encoder: list[int] | None = None, decoder: list[int] | None = None, middle: bool = True
    ) -> None:
        self.encoder = [-1] if encoder is None else list(encoder)
        self.decoder = [-1] if decoder is None else list(decoder)
        self.middle = middle

    def resolved(self, levels: int) -> tuple[set[int], set[int]]:
        """The levels of the encoder and of the decoder, counted from 0.

        Raises:
            ValueError: there is no such level.
        """
        for key, given in (("encoder", self.encoder), ("decoder", self.decoder)):
            for level in given:
                if not -levels <= level < levels:
                    valid = f"expected {-levels} to {levels - 1}, one level per channel multiplier"
                    raise ValueError(f"autoencoder.attention.{key}: no level {level}; {valid}")
        return {level % levels for level in self.encoder}, {level % levels for level in self.decoder}


class LatentConvs(Configurable):
    """The convolutions around the quantizer.

    encoder → last → Z channels → quant conv → encoder's width | width → post quant conv → Z channels → decoder

    VAR: ``quant_kernel=3``. LlamaGen: ``z_channels=256``. MAR: the defaults. MaskGIT: ``last_kernel=1, quant_kernel``
    none. A quantizer that asks the encoder for k times the tokens' width (KL: 2) gets k · Z.

    Args:
        z_channels: Z; none: the tokens' width.
        last_kernel: kernel of the encoder's last convolution.
        quant_kernel: kernel of the quant convolutions; none: there are none.
    """

    def __init__(self, *, z_channels: int | None = None, last_kernel: int = 3, quant_kernel: int | None = 1) -> None:
        if z_channels is not None:
            require("autoencoder.latent.z_channels", z_channels, at_least=1, at_most=MOST_CHANNELS)
        for key, kernel in (("last_kernel", last_kernel), ("quant_kernel", quant_kernel)):
            if kernel is not None and not (1 <= kernel <= _MOST_KERNEL and kernel % 2):
                raise ValueError(f"autoencoder.latent.{key}: must be odd, from 1 to {_MOST_KERNEL}, got {kernel}")
        if quant_kernel is None and z_channels is not None:
            told = f"is the tokens' width where quant_kernel is none, got {z_channels}"
            raise ValueError(f"autoencoder.latent.z_channels: {told}")
        self.z_channels = z_channels
        self.last_kernel = last_kernel
        self.quant_kernel = quant_kernel

    def quant_conv(self, channels: int, out_channels: int) -> nn.Module:
        """A fresh quant convolution, or nothing where there is none."""
        if self.quant_kernel is None:
            return nn.Identity()
        return nn.Conv2d(channels, out_channels, self.quant_kernel, padding=self.quant_kernel // 2)


class _StridedConv(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))
        return out
