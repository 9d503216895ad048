"""LPIPS on VGG16, from weight files that the user has.

Letters: B batch, C channels, H and W image sides, D features.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.features.feature_network import Extractor, FeatureNetwork
from arlab.features.weight_files import read_weights

# Widths of the convolutions between two poolings, and where torchvision's state dict has each: features.N.weight.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_LEAST_SIDE = 16
# Of images in [-1, 1], over ImageNet.
_MEAN = (-0.030, -0.088, -0.188)
_DEVIATION = (0.458, 0.448, 0.450)


class LPIPS(FeatureNetwork):
    """VGG16 trained on ImageNet, its maps before each pooling weighed by channel; the usual perceptual loss.

    Neither file is part of arlab. For distances between sets of images the last map is averaged: 512 features.

    The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (LPIPS), arXiv 1801.03924; Very Deep
    Convolutional Networks for Large-Scale Image Recognition (VGG), arXiv 1409.1556.

    Args:
        vgg: a file of torchvision's VGG16 weights (features.0.weight, ...), .pth or .safetensors.
        linear: a file of the learned channel weights (lin0.model.1.weight, ...); null: all channels count alike.
    """

    def __init__(self, *, vgg: str, linear: str | None = None) -> None:
        self.vgg = vgg
        self.linear = linear

    def load(self) -> Extractor:
        network = _VGG16(weighted=self.linear is not None)
        given = read_weights(self.vgg, "LPIPS.vgg", "torchvision's VGG16 weights")
        for index, convolution in zip(_INDICES, network.convolutions, strict=True):
            for part in ("weight", "bias"):
                _fill(convolution.get_parameter(part), given, f"features.{index}.{part}", f"LPIPS.vgg: {self.vgg}")
        if self.linear is not None:
            given = read_weights(self.linear, "LPIPS.linear", "the channel weights that LPIPS learned on VGG16")
            for index, weight_C in enumerate(network.linear):
                _fill(weight_C, given, f"lin{index}.model.1.weight", f"LPIPS.linear: {self.linear}")
        return network


class _VGG16(Extractor):
    """The thirteen convolutions.

    Args:
        weighted: whether channels have learned weights.
    """

    name = "lpips_vgg16"
    channels = 3

    def __init__(self, *, weighted: bool) -> None:
        super().__init__()
        widths = [width for stage in _STAGES for width in stage]
        self.convolutions = nn.ModuleList(map(_convolution, [3, *widths[:-1]], widths))
        self.linear = nn.ParameterList(torch.ones(stage[-1]) for stage in _STAGES) if weighted else nn.ParameterList()

    def layers(self, image_BCHW: Tensor) -> list[Tensor]:
        if min(image_BCHW.shape[-2:]) < _LEAST_SIDE:
            shape = tuple(image_BCHW.shape)
            raise ValueError(f"{self.name}: images must have at least {_LEAST_SIDE} pixels a side, got {shape}")
        mean_C11, deviation_C11 = (image_BCHW.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
        x_BCHW = (image_BCHW - mean_C11) / deviation_C11
        maps: list[Tensor] = []
        convolutions = iter(self.convolutions)
        for number, stage in enumerate(_STAGES):
            x_BCHW = F.max_pool2d(x_BCHW, 2) if number else x_BCHW
            for _ in stage:
                x_BCHW = torch.relu(next(convolutions)(x_BCHW))
            maps.append(x_BCHW)
        return maps

    def features(self, image_BCHW: Tensor) -> Tensor:
        return self.layers(image_BCHW)[-1].mean((2, 3))

    def layer_weights(self) -> list[Tensor] | None:
        return list(self.linear) or None


def _convolution(width_in: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(width_in, width, 3, padding=1)


def _fill(parameter: Tensor, given: Mapping[str, Tensor], name: str, where: str) -> None:
    """Copy a weight from a file."""
    value = given.get(name)
    if value is None:
        raise ValueError(f"{where} has no {name}")
    if value.numel() != parameter.numel():
        raise ValueError(f"{where}: {name} is {tuple(value.shape)}, expected {tuple(parameter.shape)}")
    with torch.no_grad():
        parameter.copy_(value.reshape(parameter.shape))
