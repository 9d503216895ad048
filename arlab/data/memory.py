"""Data modules whose images lie in memory, all of the size the model works on."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from arlab.data.data import Part
from arlab.data.loaders import LoadedData, Split
from arlab.data.pictures import Arrays
from arlab.data.reading import part
from arlab.data.stream import Images
from arlab.data.transforms import Transform, refuse_inexact
from arlab.ranges import require


@dataclass(frozen=True)
class Parts:
    """The three parts of an image set."""

    train: Images
    validation: Images
    test: Images


class MemoryData(LoadedData):
    """Images in memory, in batches that depend on the seed and the number of the step alone.

    Args:
        batch_size: B, of one process; incomplete training batches are dropped.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.
        validation_size: how many training images are held out for validation.
        transforms: what is done to the images, in order.

    Raises:
        ValueError: an option is out of range, or a transform mixes exact intensities.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        seed: int,
        num_workers: int,
        validation_size: int,
        transforms: list[Transform] | None = None,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, num_workers=num_workers)
        require("data.validation_size", validation_size, at_least=1)
        refuse_inexact(transforms or (), self.facts.levels)
        self.validation_size = validation_size
        self.transforms = transforms
        self._parts: Parts | None = None

    @abstractmethod
    def read(self) -> Parts:
        """Read the images."""

    @property
    def parts(self) -> Parts:
        """The images as they are, read when first asked for.

        Raises:
            ValueError: their intensities are not those of the facts, which exact likelihoods are computed from.
        """
        if self._parts is None:
            parts = self.read()
            for images in (parts.train, parts.validation, parts.test):
                if images.levels != self.facts.levels:
                    raise ValueError(f"data.facts: levels {self.facts.levels} against {images.levels} of the images")
            self._parts = parts
        return self._parts

    def load(self, split: Split) -> Part:
        """A part of the images, transformed.

        Raises:
            ValueError: they cannot be read, or do not come out at the target's size.
        """
        images: Images = getattr(self.parts, split.value)
        if not self.transforms:
            return images
        pixel = images.pixel_NCHW
        pixels = pixel[:, 0] if pixel.shape[1] == 1 else pixel.permute(0, 2, 3, 1)
        return part(
            Arrays(pixels.numpy()),
            images.label_N,
            self.transforms,
            size=self.facts.image_size,
            seed=self.seed,
            levels=images.levels,
            training=split is Split.TRAIN,
            in_memory=True,
        )


def embedded(file: Path, levels: int, validation_size: int) -> Parts:
    """The parts of an image set that ships with arlab; the last training images are held out for validation.

    Args:
        file: an .npz of x_train, y_train, x_test and y_test, images (N, H, W) or (N, H, W, C) in uint8.
        levels: intensities of a channel.
        validation_size: how many are held out.

    Raises:
        ValueError: nothing would be left to train on.
    """
    with np.load(file) as arrays:
        parts = []
        for part in ("train", "test"):
            pixel = torch.from_numpy(arrays[f"x_{part}"])
            pixel_NCHW = pixel[:, None] if pixel.dim() == 3 else pixel.permute(0, 3, 1, 2).contiguous()
            parts.append(Images(pixel_NCHW, torch.from_numpy(arrays[f"y_{part}"]), levels=levels))
    train, test = parts
    kept = len(train) - validation_size
    if kept < 1:
        raise ValueError(f"data.validation_size: {validation_size} leaves nothing of {len(train)} training images")
    return Parts(train[:kept], train[kept:], test)
