"""Inception as the Fréchet distance was defined with it, through the package torch-fidelity.

Letters: B batch, C channels, H and W image sides, D features, K classes.
"""

from __future__ import annotations

import hashlib
import importlib
import io
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from arlab.features.feature_network import Extractor, FeatureNetwork
from arlab.features.weight_files import read_weights
from arlab.images import to_uint8

_INSTALL = "pip install torch-fidelity torchvision"
_FILE = "pt_inception-2015-12-05-6726825d.pth"
_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
_WHAT = f"the weights of Inception from TensorFlow ({_FILE} of pytorch-fid, or torch-fidelity's, which is the same)"
_SIDE = 299
# Images of 299 pixels need 5 MB each in the first layers.
_AT_ONCE = 50
# Up to the maps whose means are the package's 64, 192, 768 and 2,048 features.
_STAGES = (
    ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1"),
    ("Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    ("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    ("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)


class Inception(FeatureNetwork):
    """Inception of 2015 trained on ImageNet: 2,048 features and 1,008 class scores, those of published FIDs.

    The network, with its enlarging to 299 pixels, is the package torch-fidelity's; its features are the package's
    ``2048`` and its scores the package's ``logits_unbiased``, which the Inception score is defined with. The package
    needs torchvision; neither it nor the weights are part of arlab, and nothing is downloaded:

        pip install torch-fidelity torchvision

    A perceptual distance by it compares four of its maps, all channels alike; no published figure is defined so.

    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (FID), arXiv 1706.08500;
    Rethinking the Inception Architecture for Computer Vision, arXiv 1512.00567.

    Args:
        weights: the file pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or torch-fidelity's, which is the same;
            with another the network is called inception_other_weights.
    """

    def __init__(self, *, weights: str) -> None:
        self.weights = weights

    def load(self) -> Extractor:
        try:
            package = importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")
            resizing = importlib.import_module("torch_fidelity.interpolate_compat_tensorflow")
        except ModuleNotFoundError as error:
            raise ValueError(f"Inception: the package {error.name} is missing; {_INSTALL}") from error
        except Exception as error:  # a torchvision made for another torch raises anything
            why = " ".join(str(error).split())
            raise ValueError(f"Inception: torch_fidelity is there but fails: {type(error).__name__}: {why}") from error
        given = read_weights(self.weights, "Inception.weights", _WHAT)
        # The package reads files without care for code in them; it is handed the tensors only.
        tensors = io.BytesIO()
        torch.save(dict(given), tensors)
        tensors.seek(0)
        try:
            network = package.FeatureExtractorInceptionV3("inception", ["2048"], tensors)
        except RuntimeError as error:
            raise ValueError(f"Inception.weights: {self.weights} does not fit the network; expected {_WHAT}") from error
        published = hashlib.sha256(Path(self.weights).read_bytes()).hexdigest() == _SHA256
        name = "inception" if published else "inception_other_weights"
        return _Extractor(name, network, resizing.interpolate_bilinear_2d_like_tensorflow1x)


class _Extractor(Extractor):
    """The package's network, as a whole for features and part by part for maps.

    Args:
        name: what protocols call it.
        network: a ``FeatureExtractorInceptionV3`` that gives '2048'.
        resize: the package's, as TensorFlow 1 did it.
    """

    channels = 3

    def __init__(self, name: str, network: nn.Module, resize: Callable[..., Tensor]) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self._resize = resize

    def layers(self, image_BCHW: Tensor) -> list[Tensor]:
        x_BCHW = self._resize((image_BCHW + 1) * 127.5, size=(_SIDE, _SIDE), align_corners=False)
        x_BCHW = (x_BCHW - 128) / 128
        maps = []
        for stage in _STAGES:
            for name in stage:
                x_BCHW = self.network.get_submodule(name)(x_BCHW)
            maps.append(x_BCHW)
        return maps

    def features(self, image_BCHW: Tensor) -> Tensor:
        """As the package gives them, of images rounded to 8 bits."""
        parts: list[Tensor] = [self.network(pixel_BCHW)[0] for pixel_BCHW in to_uint8(image_BCHW).split(_AT_ONCE)]
        return torch.cat(parts)

    def logits(self, feature_BD: Tensor) -> Tensor:
        """Linear in the features, without bias."""
        return feature_BD @ self.network.get_submodule("fc").get_parameter("weight").T
