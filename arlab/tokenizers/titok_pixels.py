"""From what a transformer says of each patch to an image: how a decoder of patches ends.

Letters: B batch, C channels, H and W image sides, h and w sides of the grid of patches, D width, V codes, Z width of
a code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.configurable import Configurable
from arlab.ranges import require
from arlab.tokenizers.vqgan_blocks import GroupNorm, ResidualBlock, Upsample
from arlab.tokenizers.vqgan_parts import MOST_CHANNELS, InputShortcut, Shortcut

_MOST_BLOCKS = 1000
_MOST_CODES = 2**22
_MOST_NUMBERS = 2**26
_MOST_LEVELS = 16


class Pixels(Configurable, ABC):
    """A recipe for what makes an image of patches."""

    @abstractmethod
    def build(self, width: int, grid: tuple[int, int], patch_size: int, channels: int) -> PixelsModule:
        """A fresh module for so many patches of so many pixels a side.

        Raises:
            ValueError: it makes patches of another size.
        """


class PixelsModule(nn.Module, ABC):
    """(B, D, h, w) to (B, C, H, W)."""

    conv_out: nn.Conv2d
    """Its last layer."""

    @abstractmethod
    def forward(self, h_BDhw: Tensor) -> Tensor:
        """An image, not clipped."""


class PatchPixels(Pixels):
    """Each patch's pixels by a linear map, then a 3 · 3 convolution over the image (TiTok of one stage).

    An Image is Worth 32 Tokens for Reconstruction and Generation (TiTok), arXiv 2406.07550.
    """

    def __init__(self) -> None:
        pass

    def build(self, width: int, grid: tuple[int, int], patch_size: int, channels: int) -> PixelsModule:
        return _PatchPixels(width, patch_size, channels)


class SoftCodes(Pixels):
    """decoder(softmax(W2 tanh(W1 h)) E): each patch a mixture of codes, which a convolutional decoder makes pixels of.

    E are V codes of a VQGAN, and the decoder is MaskGIT's: residual blocks without biases and without attention, both
    sides doubled for each channel multiplier but the first. TiTok's L-32, B-64 and S-128 end so, with the decoder and
    codes of MaskGIT's VQGAN: ``codebook_size: 1024, code_width: 256, channels: 128, channel_multipliers: [1, 1, 2, 2,
    4], blocks: 2, shortcut: OutputShortcut``.

    An Image is Worth 32 Tokens for Reconstruction and Generation (TiTok), arXiv 2406.07550; MaskGIT: Masked Generative
    Image Transformer, arXiv 2202.04200.

    Args:
        codebook_size: V.
        code_width: Z.
        channels: feature channels at the image's resolution.
        channel_multipliers: one per resolution, from the image's down; a patch is of 2^(number - 1) pixels a side.
        blocks: residual blocks per resolution, and as many before the first.
        shortcut: what residual blocks add where they change the number of channels.
        norm_groups: of GroupNorm.
    """

    def __init__(
        self,
        *,
        codebook_size: int = 256,
        code_width: int = 32,
        channels: int = 32,
        channel_multipliers: list[int] | None = None,
        blocks: int = 1,
        shortcut: Shortcut | None = None,
        norm_groups: int = 8,
    ) -> None:
        require("autoencoder.pixels.codebook_size", codebook_size, at_least=2, at_most=_MOST_CODES)
        require("autoencoder.pixels.code_width", code_width, at_least=1, at_most=MOST_CHANNELS)
        require("autoencoder.pixels.channels", channels, at_least=1, at_most=MOST_CHANNELS)
        require("autoencoder.pixels.blocks", blocks, at_least=1, at_most=_MOST_BLOCKS)
        require("autoencoder.pixels.norm_groups", norm_groups, at_least=1, at_most=MOST_CHANNELS)
        numbers = "autoencoder.pixels.code_width: codebook_size · code_width"
        require(numbers, codebook_size * code_width, at_most=_MOST_NUMBERS)
        multipliers = [1, 2, 2] if channel_multipliers is None else list(channel_multipliers)
        if not 1 <= len(multipliers) <= _MOST_LEVELS or min(multipliers) < 1:
            expected = f"needs 1 to {_MOST_LEVELS} positive numbers, got"
            raise ValueError(f"autoencoder.pixels.channel_multipliers: {expected} {multipliers}")
        self.codebook_size = codebook_size
        self.code_width = code_width
        self.widths = [channels * multiplier for multiplier in multipliers]
        most = "autoencoder.pixels.channel_multipliers: channels · multiplier"
        require(most, max(self.widths), at_most=MOST_CHANNELS)
        if any(width % norm_groups for width in self.widths):
            told = f"{norm_groups} does not divide the channels {self.widths}"
            raise ValueError(f"autoencoder.pixels.norm_groups: {told}")
        self.blocks = blocks
        self.shortcut = InputShortcut() if shortcut is None else shortcut
        self.norm_groups = norm_groups

    def build(self, width: int, grid: tuple[int, int], patch_size: int, channels: int) -> PixelsModule:
        side = 2 ** (len(self.widths) - 1)
        if side != patch_size:
            raise ValueError(
                f"autoencoder.pixels.channel_multipliers: {len(self.widths)} of them make {side} x {side} pixels of a "
                f"patch, of patch_size {patch_size}; each after the first doubles both sides"
            )
        return _SoftCodes(width, channels, self)


class _PatchPixels(PixelsModule):
    def __init__(self, width: int, patch_size: int, channels: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.to_pixels = nn.Conv2d(width, patch_size**2 * channels, 1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            # The first images are nearly gray and what the patches say: noise would take steps to unlearn.
            self.to_pixels.weight.mul_(0.1)[:, : width // 2] = 0
            nn.init.dirac_(self.conv_out.weight)
            for layer in (self.to_pixels, self.conv_out):
                if layer.bias is not None:
                    layer.bias.zero_()

    def forward(self, h_BDhw: Tensor) -> Tensor:
        side, pixels_BPhw = self.patch_size, self.to_pixels(h_BDhw)
        # Published with the channel last: rows of a patch, columns, channels.
        parts_BRSChw = pixels_BPhw.unflatten(1, (side, side, -1))
        image_BCHW = parts_BRSChw.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)
        out_BCHW: Tensor = self.conv_out(image_BCHW)
        return out_BCHW


class _SoftCodes(PixelsModule):
    def __init__(self, width: int, channels: int, recipe: SoftCodes) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(width, 2 * width, 1)
        self.to_logits = nn.Conv2d(2 * width, recipe.codebook_size, 1)
        self.codes = _Codes(recipe.codebook_size, recipe.code_width)
        self.decoder = _decoder(recipe)
        self.conv_out = nn.Conv2d(recipe.widths[0], channels, 3, padding=1)

    def forward(self, h_BDhw: Tensor) -> Tensor:
        logits_BVhw = self.to_logits(torch.tanh(self.hidden(h_BDhw)))
        mixed_BZhw = torch.einsum("bvhw,vz->bzhw", logits_BVhw.softmax(1), self.codes.table)
        image_BCHW: Tensor = self.conv_out(F.silu(self.decoder(mixed_BZhw)))
        return image_BCHW


class _Codes(nn.Module):
    no_weight_decay = True

    def __init__(self, codebook_size: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(codebook_size, width))


def _decoder(recipe: SoftCodes) -> nn.Sequential:
    """All but the last convolution, named as in ``VQGANAutoencoder``."""
    before = recipe.widths[-1]
    parts = OrderedDict[str, nn.Module](conv_in=nn.Conv2d(recipe.code_width, before, 3, padding=1))
    parts["middle"] = _stage(recipe, before, before)
    for level, width in reversed(list(enumerate(recipe.widths))):
        parts[f"level{level}"] = _stage(recipe, before, width)
        if level:
            parts[f"level{level}"].add_module("upsample", Upsample(width))
        before = width
    parts["norm_out"] = GroupNorm(recipe.norm_groups, recipe.widths[0])
    return nn.Sequential(parts)


def _stage(recipe: SoftCodes, before: int, width: int) -> nn.Sequential:
    blocks = OrderedDict[str, nn.Module]()
    for block in range(recipe.blocks):
        channels = before if block == 0 else width
        blocks[f"block{block}"] = ResidualBlock(channels, width, recipe.norm_groups, False, recipe.shortcut)
    return nn.Sequential(blocks)
