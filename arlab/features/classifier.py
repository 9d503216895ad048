"""A small classifier whose 64 features are what generated images are compared in.

Letters: B batch, N images, C image channels, H and W image sides, D features, K classes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from arlab.configurable import Configurable, Spec, from_spec
from arlab.features.feature_network import Extractor, FeatureNetwork, hash_of
from arlab.runs.files import written_whole


class Classified(NamedTuple):
    """What the classifier makes of images.

    Attributes:
        feature_BD: (B, D) features, each of about unit variance over the training images.
        logits_BK: (B, K) class scores, linear in the features.
    """

    feature_BD: Tensor
    logits_BK: Tensor


class FeatureClassifier(Extractor, Configurable):
    """Residual convolutions, average pooling, D normalised features, a linear layer to K classes.

    feature = batch_norm(W · mean over places of trunk(pixel)); logits = V · feature + b.

    Features are few because a covariance of D² / 2 numbers must be estimated from about a thousand images, and are not
    rectified because the Fréchet distance takes them for Gaussian. Images come as 8-bit intensities, as files hold
    them, so that rounding is never forgotten.

    Deep Residual Learning for Image Recognition, arXiv 1512.03385.

    Args:
        name: what protocols call it.
        channels: C, 1 for gray, 3 for RGB.
        num_classes: K.
        widths: channels after each block; each block halves the sides.
        num_features: D.
        class_names: of the K classes, in their order; empty: not known.

    Raises:
        ValueError: there are names, but not K.
    """

    def __init__(
        self,
        *,
        name: str = "fashion_classifier",
        channels: int = 1,
        num_classes: int = 10,
        widths: tuple[int, ...] = (32, 64, 128),
        num_features: int = 64,
        class_names: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        if class_names and len(class_names) != num_classes:
            raise ValueError(f"class_names: {num_classes} classes, got {len(class_names)} names")
        self.name = name
        self.channels = channels
        self.num_features = num_features
        self.class_names = tuple(class_names)
        self.trunk = nn.Sequential(*map(_Block, (channels, *widths[:-1]), widths))
        self.project = nn.Linear(widths[-1], num_features)
        self.norm = nn.BatchNorm1d(num_features, affine=False)
        self.classify = nn.Linear(num_features, num_classes)

    def forward(self, pixel_BCHW: Tensor) -> Classified:
        """Features and logits of images (B, C, H, W), uint8 in 0 .. 255.

        Raises:
            ValueError: the images are not uint8 or have another number of channels.
        """
        if pixel_BCHW.dtype != torch.uint8:
            raise ValueError(f"{self.name}: images must be torch.uint8 in 0 .. 255, got {pixel_BCHW.dtype}")
        if pixel_BCHW.dim() != 4 or pixel_BCHW.shape[1] != self.channels:
            raise ValueError(f"{self.name}: images must be (B, {self.channels}, H, W), got {tuple(pixel_BCHW.shape)}")
        scaled_BCHW = pixel_BCHW.to(self.project.weight.dtype) / 127.5 - 1
        feature_BD = self.features(scaled_BCHW)
        return Classified(feature_BD, self.logits(feature_BD))

    @torch.no_grad()
    def read(self, pixel_NCHW: Tensor, batch_size: int = 250) -> Classified:
        """Features (N, D) and logits (N, K) of any number of images, in float32 on the CPU.

        Raises:
            ValueError: the network is in training mode, where features depend on the batch.
        """
        if self.training:
            raise ValueError(f"{self.name}: is in training mode; call eval() before measuring with it")
        device = self.project.weight.device
        parts = [self(pixel_BCHW.to(device)) for pixel_BCHW in torch.split(pixel_NCHW, batch_size)]
        features, logits = zip(*parts, strict=True)
        return Classified(torch.cat(features).float().cpu(), torch.cat(logits).float().cpu())

    def layers(self, image_BCHW: Tensor) -> list[Tensor]:
        maps = []
        for block in self.trunk:
            image_BCHW = block(image_BCHW)
            maps.append(image_BCHW)
        return maps

    def features(self, image_BCHW: Tensor) -> Tensor:
        feature_BD: Tensor = self.norm(self.project(self.trunk(image_BCHW).mean((2, 3))))
        return feature_BD

    def logits(self, feature_BD: Tensor) -> Tensor:
        logits_BK: Tensor = self.classify(feature_BD)
        return logits_BK

    @property
    def weights_hash(self) -> str:
        """SHA-256 of its weights; see ``hash_of``."""
        return hash_of(self)


class _Block(nn.Module):
    """Two 3 x 3 convolutions of stride 2 and 1 beside a 1 x 1 of stride 2."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width_in, width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.skip = nn.Sequential(nn.Conv2d(width_in, width, 1, 2, bias=False), nn.BatchNorm2d(width))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return torch.relu(self.body(x_BCHW) + self.skip(x_BCHW))


def agreement(logits_NK: Tensor, label_N: Tensor) -> float:
    """Share of images whose highest logit is that of their class, or of the class asked for."""
    return (logits_NK.argmax(dim=1) == label_N.to(logits_NK.device)).double().mean().item()


def save_classifier(network: FeatureClassifier, path: Path, facts: Mapping[str, str]) -> None:
    """Write a classifier in float16, with its spec and ``facts`` about its training as metadata."""
    weights = {
        name: (weight.half() if weight.is_floating_point() else weight).cpu().contiguous()
        for name, weight in network.state_dict().items()
    }
    with written_whole(path) as draft:
        save_file(weights, draft, {**facts, "spec": json.dumps(network.spec())})


def load_classifier(path: Path) -> FeatureClassifier:
    """A saved classifier in float32, in evaluation mode, without gradients.

    Raises:
        ValueError: the file is missing, broken or not a feature classifier.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path}: not a readable safetensors file") from error
    if "spec" not in facts:
        raise ValueError(f"{path}: holds no feature classifier (made by arlab.features.train_classifier)")
    network = from_spec(cast("Spec", json.loads(facts["spec"])), FeatureClassifier)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path}: weights do not fit the classifier they were saved with") from error
    return network.requires_grad_(False).eval()


class FashionClassifier(FeatureNetwork):
    """The shipped classifier of gray images: 64 features, trained on the 5,000 embedded Fashion-MNIST images."""

    def load(self) -> FeatureClassifier:
        return fashion_classifier()


class EmojiClassifier(FeatureNetwork):
    """The shipped classifier of colour images: 64 features, trained on the 3,365 embedded training emoji."""

    def load(self) -> FeatureClassifier:
        return load_classifier(Path(__file__).with_name("emoji_classifier.safetensors"))


class SavedClassifier(FeatureNetwork):
    """A classifier trained on your own images by ``python -m arlab.features.train_classifier``.

    Args:
        file: what the training wrote.
    """

    def __init__(self, *, file: str) -> None:
        self.file = file

    def load(self) -> FeatureClassifier:
        return load_classifier(Path(self.file))


def fashion_classifier() -> FeatureClassifier:
    """The weights of ``FashionClassifier``, with its ten classes."""
    return load_classifier(Path(__file__).with_name("fashion_classifier.safetensors"))


@functools.cache
def shipped(channels: int) -> FeatureNetwork:
    """The shipped network for images of so many channels, always the same object.

    Raises:
        ValueError: there is none.
    """
    networks: dict[int, type[FeatureNetwork]] = {1: FashionClassifier, 3: EmojiClassifier}
    if channels not in networks:
        raise ValueError(f"network: missing; none is shipped for images of {channels} channels (1 or 3)")
    return networks[channels]()
