"""The networks that tell images from their reconstructions: their contract, and PatchGAN's.

Letters: B batch, C image or feature channels, H and W image or map sides, h and w sides of the map of logits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from arlab.configurable import Configurable
from arlab.precision import in_float32
from arlab.ranges import require
from arlab.tokenizers import vqgan_blocks

_MOST_CHANNELS = 512


class Discriminator(nn.Module, Configurable, ABC):
    """Images to logits, large where they look real; configured first, bound to the data later."""

    @abstractmethod
    def bind(self, channels: int, image_size: tuple[int, int]) -> None:
        """Create the weights for images (C, H, W).

        It is tried on a copy on the meta device as soon as the images are known, and called as a run begins.

        Raises:
            ValueError: it cannot judge images of this size.
        """

    @abstractmethod
    def forward(self, image_BCHW: Tensor) -> Tensor:
        """Logits of any shape (B, ...) of images in [-1, 1] (not clipped)."""

    def features(self, image_BCHW: Tensor) -> list[Tensor]:
        """What it computes on the way, (B, ...) each and the first layer's first; the last one is the logits."""
        return [self(image_BCHW)]


class MapNorm(Configurable, ABC):
    """A recipe for a normalisation of feature maps."""

    biased = False
    """Whether it shifts what it gets by a learned bias, which makes that of a layer before it void."""

    @abstractmethod
    def build(self, features: int) -> nn.Module:
        """A fresh module for maps (B, features, H, W)."""


class NoMapNorm(MapNorm):
    """Leave feature maps as they are."""

    def __init__(self) -> None:
        pass

    def build(self, features: int) -> nn.Module:
        return nn.Identity()


class BatchNorm(MapNorm):
    """(x - mean) / std · weight + bias, of each channel over the batch.

    Mean and deviation are always those of the batch, and in distributed training of each process's own part of it.

    Batch Normalization, arXiv 1502.03167.
    """

    biased = True

    def __init__(self) -> None:
        pass

    def build(self, features: int) -> nn.Module:
        return _Batch(features, track_running_stats=False)


class GroupNorm(MapNorm):
    """(x - mean) / std · weight + bias, of each group of channels of each image: nothing depends on the batch.

    Group Normalization, arXiv 1803.08494.

    Args:
        num_groups: how many; it must divide the channels.
    """

    biased = True

    def __init__(self, *, num_groups: int = 8) -> None:
        require("discriminator.norm.num_groups", num_groups, at_least=1)
        self.num_groups = num_groups

    def build(self, features: int) -> nn.Module:
        if features % self.num_groups:
            raise ValueError(
                f"discriminator.norm.num_groups: must divide the discriminator's channels, got {self.num_groups} "
                f"for {features}"
            )
        return vqgan_blocks.GroupNorm(self.num_groups, features, eps=1e-5)


class _Batch(nn.BatchNorm2d):
    @in_float32
    def forward(self, x_BCHW: Tensor) -> Tensor:
        return super().forward(x_BCHW)


class PatchDiscriminator(Discriminator):
    """PatchGAN: one logit for each patch of an image, by convolutions of 4 x 4.

    conv ↓2, leaky ReLU, (conv ↓2, norm, leaky ReLU) · (num_layers - 1), conv, norm, leaky ReLU, conv to one channel

    The map of logits has sides ⌊H / 2^num_layers⌋ - 2. A logit sees 16, 34, 70, 142 pixels to a side for 1, 2, 3, 4
    layers: small images want fewer layers than the published three.

        discriminator = PatchDiscriminator(num_layers=2)
        discriminator.bind(3, (32, 32))
        logits = discriminator(image)         # (B, 3, 32, 32) -> (B, 1, 6, 6)

    Image-to-Image Translation with Conditional Adversarial Networks (PatchGAN), arXiv 1611.07004.
    Taming Transformers for High-Resolution Image Synthesis (VQGAN), arXiv 2012.09841.

    Args:
        channels: feature channels of the first layer; doubled by each further one up to eight times as many.
        num_layers: how often the image's sides are halved.
        norm: of feature maps; BatchNorm as published.
    """

    def __init__(self, *, channels: int = 64, num_layers: int = 3, norm: MapNorm | None = None) -> None:
        super().__init__()
        require("discriminator.channels", channels, at_least=1, at_most=_MOST_CHANNELS)
        require("discriminator.num_layers", num_layers, at_least=1)
        self.channels = channels
        self.num_layers = num_layers
        self.norm = BatchNorm() if norm is None else norm

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_layers={self.num_layers}"

    def bind(self, channels: int, image_size: tuple[int, int]) -> None:
        # Two convolutions that do not halve take one cell off a side each, and one must be left.
        most = (min(image_size) // 3).bit_length() - 1
        if self.num_layers > most:
            choice = f"choose at most {most}" if most > 0 else "it needs sides of at least 6"
            raise ValueError(
                f"discriminator.num_layers: {self.num_layers} leave nothing of an image of {image_size}; {choice}"
            )
        before = self.channels
        layers: list[nn.Module] = [nn.Conv2d(channels, before, 4, stride=2, padding=1), _leaky()]
        for layer in range(1, self.num_layers + 1):
            after = self.channels * min(2**layer, 8)
            stride = 2 if layer < self.num_layers else 1
            layers.append(nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=not self.norm.biased))
            layers += [self.norm.build(after), _leaky()]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 4, padding=1))
        self.layers.apply(_initialise)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        logits_B1hw: Tensor = self.layers(image_BCHW)
        return logits_B1hw

    def features(self, image_BCHW: Tensor) -> list[Tensor]:
        """After each leaky ReLU, and the logits."""
        x_BCHW, maps = image_BCHW, []
        for layer in self.layers:
            x_BCHW = layer(x_BCHW)
            if isinstance(layer, nn.LeakyReLU):
                maps.append(x_BCHW)
        return [*maps, x_BCHW]


def _leaky() -> nn.Module:
    return nn.LeakyReLU(0.2)


def _initialise(module: nn.Module) -> None:
    """As published: weights of a deviation of 0.02, scales around 1, biases 0."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
        nn.init.normal_(module.weight, 1.0, 0.02)
    if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.GroupNorm)) and module.bias is not None:
        nn.init.zeros_(module.bias)
