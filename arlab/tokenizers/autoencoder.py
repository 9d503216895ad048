"""The network between images and latent vectors: its contract, and a small convolutional one.

Letters: B batch, C channels, H and W image sides, h and w latent sides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

from arlab.configurable import Configurable
from arlab.ranges import require

_MOST_BLOCKS = 1000


class Autoencoder(nn.Module, Configurable, ABC):
    """Images to a smaller map of latent vectors and back; configured first, bound to the data later."""

    decodes_any_grid: bool = False
    """Whether the decoder takes latent maps of any sides, and makes images of a size in proportion."""

    @property
    def decodes_prefixes(self) -> bool:
        """Whether the decoder has learned to do with the first tokens of a sequence alone."""
        return False

    @abstractmethod
    def latent_shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        """The sides of the latent map of an image: (h, w), or (N,) for tokens without places.

        Raises:
            ValueError: the image cannot be divided so.
        """

    @abstractmethod
    def bind(self, channels: int, image_size: tuple[int, int], width: int, encoder_width: int) -> None:
        """Create the weights for images (C, H, W), an encoder that gives ``encoder_width``, a decoder of ``width``.

        Raises:
            ValueError: the image cannot be divided so.
        """

    @abstractmethod
    def encode(self, image_BCHW: Tensor) -> Tensor:
        """Images to latent maps (B, encoder_width, *latent_shape)."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Latent maps (B, width, *latent_shape) to images (B, C, H, W), not clipped."""

    def decode_known(self, z: Tensor, known: Tensor) -> Tensor:
        """Images of latent maps of which only some vectors are known, (B, *latent_shape) bool; the others are zeros."""
        return self.decode(z.where(known[:, None], 0))

    @property
    @abstractmethod
    def last_layer(self) -> Tensor:
        """The weight of the decoder's last layer: where adversarial training compares gradients."""


class ConvAutoencoder(Autoencoder):
    """Residual blocks, halved by strided convolutions and doubled again by nearest-neighbour upsampling.

    encode = (blocks, ↓2) · (L - 1), blocks, to width;  decode mirrors it;  L = len(channel_multipliers).

    Args:
        channels: feature channels at the first resolution.
        channel_multipliers: one per resolution, from the image's down; each further one halves both sides.
        res_blocks: residual blocks per resolution, in the encoder and in the decoder.
        norm_groups: groups of GroupNorm.
    """

    decodes_any_grid = True

    def __init__(
        self,
        *,
        channels: int = 32,
        channel_multipliers: list[int] | None = None,
        res_blocks: int = 1,
        norm_groups: int = 8,
    ) -> None:
        super().__init__()
        require("autoencoder.channels", channels, at_least=1)
        # Blocks are made one by one: memory would run out only after minutes.
        require("autoencoder.res_blocks", res_blocks, at_least=0, at_most=_MOST_BLOCKS)
        require("autoencoder.norm_groups", norm_groups, at_least=1)
        multipliers = [1, 2, 2] if channel_multipliers is None else list(channel_multipliers)
        if not multipliers or min(multipliers) < 1:
            raise ValueError(f"autoencoder.channel_multipliers: needs at least one positive number, got {multipliers}")
        self.widths = [channels * multiplier for multiplier in multipliers]
        if any(width % norm_groups for width in self.widths):
            raise ValueError(f"autoencoder.norm_groups: {norm_groups} does not divide the channels {self.widths}")
        self.res_blocks = res_blocks
        self.norm_groups = norm_groups
        self.downsampling = 2 ** (len(multipliers) - 1)

    def latent_shape(self, image_size: tuple[int, int]) -> tuple[int, ...]:
        return downsampled(image_size, self.downsampling)

    def bind(self, channels: int, image_size: tuple[int, int], width: int, encoder_width: int) -> None:
        self.latent_shape(image_size)
        down: list[nn.Module] = [nn.Conv2d(channels, self.widths[0], 3, padding=1)]
        for level, features in enumerate(self.widths):
            down.extend(self._blocks(features))
            if level + 1 < len(self.widths):
                down.append(nn.Conv2d(features, self.widths[level + 1], 3, stride=2, padding=1))
        down += [
            nn.GroupNorm(self.norm_groups, self.widths[-1]),
            nn.SiLU(),
            nn.Conv2d(self.widths[-1], encoder_width, 1),
        ]
        self.encoder = nn.Sequential(*down)

        up: list[nn.Module] = [nn.Conv2d(width, self.widths[-1], 3, padding=1)]
        for level, features in reversed(list(enumerate(self.widths))):
            up.extend(self._blocks(features))
            if level > 0:
                up += [nn.Upsample(scale_factor=2), nn.Conv2d(features, self.widths[level - 1], 3, padding=1)]
        up += [nn.GroupNorm(self.norm_groups, self.widths[0]), nn.SiLU()]
        up.append(nn.Conv2d(self.widths[0], channels, 3, padding=1))
        self.decoder = nn.Sequential(*up)

    def _blocks(self, features: int) -> list[_ResBlock]:
        return [_ResBlock(features, self.norm_groups) for _ in range(self.res_blocks)]

    def encode(self, image_BCHW: Tensor) -> Tensor:
        z_BChw: Tensor = self.encoder(image_BCHW)
        return z_BChw

    def decode(self, z: Tensor) -> Tensor:
        image_BCHW: Tensor = self.decoder(z)
        return image_BCHW

    @property
    def last_layer(self) -> Tensor:
        convolution = self.decoder[-1]
        assert isinstance(convolution, nn.Conv2d)
        return convolution.weight


class _ResBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))); the last convolution starts at zero."""

    def __init__(self, features: int, norm_groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(norm_groups, features)
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.norm2 = nn.GroupNorm(norm_groups, features)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        h_BCHW = self.conv1(F.silu(self.norm1(x_BCHW)))
        h_BCHW = self.conv2(F.silu(self.norm2(h_BCHW)))
        out_BCHW: Tensor = x_BCHW + h_BCHW
        return out_BCHW


def downsampled(image_size: tuple[int, int], factor: int) -> tuple[int, int]:
    """The latent's sides where each cell stands for factor · factor pixels.

    Raises:
        ValueError: the image cannot be divided so.
    """
    if any(side % factor for side in image_size):
        raise ValueError(
            f"autoencoder: image_size {image_size} is not divisible by {factor}; choose another data.image_size, "
            "or give fewer channel_multipliers (each after the first halves both sides)"
        )
    return image_size[0] // factor, image_size[1] // factor
