"""The contract of feature networks: what images are compared in, in training and in figures.

Letters: B batch, N images, C channels, H and W image sides, D features, K classes.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from arlab.configurable import Configurable
from arlab.precision import upcast

_EPS = 1e-10


class Extractor(nn.Module, ABC):
    """A trained network between images in [-1, 1] and features."""

    name: str
    """What protocols call it."""
    channels: int
    """Of the images it takes; 3 takes gray images as well, repeated."""
    class_names: tuple[str, ...] = ()
    """Those of its logits, in their order; empty where they are not known, or it classifies nothing."""

    @abstractmethod
    def layers(self, image_BCHW: Tensor) -> list[Tensor]:
        """The maps (B, C, H, W) that a perceptual distance compares, from fine to coarse; differentiable.

        Raises:
            ValueError: the images are too small.
        """

    @abstractmethod
    def features(self, image_BCHW: Tensor) -> Tensor:
        """One vector per image, (B, D), for distances between sets of images."""

    def logits(self, feature_BD: Tensor) -> Tensor | None:
        """Class scores (B, K) of images with these features; None: it classifies nothing."""
        return None

    def layer_weights(self) -> list[Tensor] | None:
        """How much each channel of each map counts in a perceptual distance, (C,) each; None: all alike."""
        return None


class FeatureNetwork(Configurable, ABC):
    """A frozen feature network: chosen when a model is configured, read when it is first used.

    It is no ``nn.Module``, so what it holds never enters a ``state_dict`` or an optimizer; it follows the images to
    their device, and copies of a model share it. A model that was trained with it loads where its weights are missing.
    """

    @abstractmethod
    def load(self) -> Extractor:
        """Read the network.

        Raises:
            ValueError: its weights are missing or do not fit.
        """

    @cached_property
    def extractor(self) -> Extractor:
        """The network, in evaluation mode and without gradients.

        Raises:
            ValueError: its weights are missing or do not fit.
        """
        # Read in the middle of training, it must not move the random numbers, and inference tensors could not be
        # differentiated through later.
        with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.device("cpu"):
            return self.load().requires_grad_(False).eval()

    @property
    def name(self) -> str:
        """What protocols call it."""
        return self.extractor.name

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of its class scores, in their order; empty where they are not known, or it classifies nothing."""
        return self.extractor.class_names

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 of its weights; see ``hash_of``."""
        return hash_of(self.extractor)

    def refuse(self, channels: int) -> None:
        """See that the network takes images of so many channels.

        Raises:
            ValueError: it does not, or its weights are missing.
        """
        if channels not in {self.extractor.channels, 1}:
            raise ValueError(f"{self.name}: takes images of {self.extractor.channels} channels, got {channels}")

    def layers(self, image_BCHW: Tensor) -> list[Tensor]:
        """The feature maps of images in [-1, 1], from fine to coarse; gradients flow to the images only.

        Raises:
            ValueError: the images have other channels than the network takes, or are too small.
        """
        return self.extractor.layers(self._fitted(image_BCHW))

    def distance(self, a_BCHW: Tensor, b_BCHW: Tensor) -> Tensor:
        """Perceptual distance of each pair of images in [-1, 1], (B,).

        d = Σ_layers mean over places Σ_c w_c (u_c / |u| - v_c / |v|)², with w = 1 where the network has none learned.

        The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (LPIPS), arXiv 1801.03924.

        Raises:
            ValueError: the images have other channels than the network takes, or are too small.
        """
        maps = zip(self.layers(a_BCHW), self.layers(b_BCHW), strict=True)
        squared = [(_normalised(u_BCHW) - _normalised(v_BCHW)).square() for u_BCHW, v_BCHW in maps]
        weights = self.extractor.layer_weights()
        if weights is not None:
            squared = [d_BCHW * w_C[:, None, None] for d_BCHW, w_C in zip(squared, weights, strict=True)]
        return torch.stack([d_BCHW.sum(1).mean((1, 2)) for d_BCHW in squared]).sum(0)

    @torch.no_grad()
    def features(self, pixel_NCHW: Tensor, batch_size: int = 250) -> Tensor:
        """Features (N, D) of any number of uint8 images in 0 .. 255, in float32 on the CPU.

        Images come as files hold them, so that rounding is never forgotten.

        Raises:
            ValueError: the images are not uint8, have other channels than the network takes, or are too small.
        """
        if pixel_NCHW.dtype != torch.uint8:
            raise ValueError(f"{self.name}: images must be torch.uint8 in 0 .. 255, got {pixel_NCHW.dtype}")
        parts = [self._fitted(pixel_BCHW.float() / 127.5 - 1) for pixel_BCHW in pixel_NCHW.split(batch_size)]
        return torch.cat([self.extractor.features(image_BCHW).float().cpu() for image_BCHW in parts])

    @torch.no_grad()
    def classify(self, feature_ND: Tensor, batch_size: int = 2500) -> Tensor | None:
        """Class scores (N, K) of images with these features, in float32 on the CPU; None: it classifies nothing.

        Raises:
            ValueError: the features are not (N, D).
        """
        if feature_ND.dim() != 2:
            raise ValueError(f"{self.name}: features must be (N, D), got {tuple(feature_ND.shape)}")
        device, dtype = self._held(feature_ND)
        parts = [self.extractor.logits(feature_BD.to(device, dtype)) for feature_BD in feature_ND.split(batch_size)]
        known = [logits_BK.float().cpu() for logits_BK in parts if logits_BK is not None]
        return torch.cat(known) if known else None

    def _fitted(self, image_BCHW: Tensor) -> Tensor:
        """Images in the channels and numbers of the network, which comes to their device."""
        extractor = self.extractor
        device, dtype = self._held(image_BCHW)
        if device != image_BCHW.device:
            with torch.inference_mode(False):
                extractor.to(image_BCHW.device)
        if image_BCHW.dim() != 4:
            raise ValueError(f"{self.name}: images must be (B, C, H, W), got {tuple(image_BCHW.shape)}")
        self.refuse(image_BCHW.shape[1])
        return image_BCHW.to(dtype).expand(-1, extractor.channels, -1, -1)

    def _held(self, like: Tensor) -> tuple[torch.device, torch.dtype]:
        """Where the network is and its numbers; a network without weights is wherever the images are, in float32."""
        for weight in self.extractor.parameters():
            return weight.device, weight.dtype
        return like.device, torch.float32

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureNetwork:
        return self


def hash_of(network: nn.Module) -> str:
    """SHA-256 over names, shapes and float32 values of all weights, wherever they were loaded from."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} ".encode())
        digest.update(weight.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _normalised(x_BCHW: Tensor) -> Tensor:
    """Each place's vector at length 1. Inside the root, the small number keeps gradients finite where all is zero."""
    x_BCHW = upcast(x_BCHW)
    return x_BCHW / (x_BCHW.square().sum(1, keepdim=True) + _EPS).sqrt()
