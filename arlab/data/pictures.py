"""Pictures by number, wherever they come from, and a part of an image set made of them.

Letters: N pictures, B batch, C channels, H and W sides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from arlab.data.data import Batch, Part
from arlab.data.stream import normalised
from arlab.data.transforms import Size, Transform
from arlab.rng import mix_seed

Pixels = npt.NDArray[np.uint8]


class PictureError(ValueError):
    """A picture cannot be read."""


class Pictures(ABC):
    """Gray (mode L) or RGB pictures of any size, by number."""

    threads: int = 1
    """How many may read at once."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def __getitem__(self, row: int) -> Image.Image:
        """A picture.

        Raises:
            PictureError: it cannot be read.
        """

    @abstractmethod
    def name(self, row: int) -> str:
        """What to call it in a message."""

    @abstractmethod
    def pixels(self, row: int) -> int:
        """Its height times its width, from its header."""


class Arrays(Pictures):
    """Pictures that lie in memory as (H, W) or (H, W, 3) arrays.

    Args:
        arrays: one per picture, or one array of all.
        what: what to call them.
    """

    def __init__(self, arrays: Sequence[Pixels] | Pixels, what: str = "image") -> None:
        self.arrays = arrays
        self.what = what

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, row: int) -> Image.Image:
        return Image.fromarray(self.arrays[row])

    def name(self, row: int) -> str:
        return f"{self.what} {row}"

    def pixels(self, row: int) -> int:
        height, width = self.arrays[row].shape[:2]
        return int(height) * int(width)


class Selected(Pictures):
    """Some of the pictures.

    Args:
        pictures: all of them.
        rows: which.
    """

    def __init__(self, pictures: Pictures, rows: Sequence[int]) -> None:
        self.pictures = pictures
        self.rows = rows
        self.threads = pictures.threads

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> Image.Image:
        return self.pictures[self.rows[row]]

    def name(self, row: int) -> str:
        return self.pictures.name(self.rows[row])

    def pixels(self, row: int) -> int:
        return self.pictures.pixels(self.rows[row])


class Transformed(Part):
    """Pictures transformed when asked for: image ``row`` of an epoch is a function of (seed, epoch, row) alone.

    Args:
        pictures: read one by one.
        label_N: int64 class indices.
        transforms: applied in order.
        size: (H, W), what must come out.
        seed: of the random transforms.
        levels: how many intensities there are.
    """

    def __init__(
        self,
        pictures: Pictures,
        label_N: Tensor,
        transforms: Sequence[Transform],
        *,
        size: Size,
        seed: int,
        levels: int = 256,
    ) -> None:
        self.pictures = pictures
        self.label_N = label_N
        self.transforms = transforms
        self.random = any(transform.random for transform in transforms)
        self.size = size
        self.seed = seed
        self.levels = levels

    def __len__(self) -> int:
        return len(self.pictures)

    def batch(self, row_B: Tensor, known: bool, epoch: int | None = None) -> Batch:
        pixel_BCHW = torch.stack([torch.from_numpy(self.pixel(row, epoch)) for row in row_B.tolist()])
        told = known and not self.random
        row_told_B = row_B if told else torch.full_like(row_B, -1)
        return Batch(normalised(pixel_BCHW, self.levels), self.label_N[row_B], row_told_B)

    def pixel(self, row: int, epoch: int | None) -> Pixels:
        """One image, (C, H, W).

        Raises:
            PictureError: it cannot be read, or does not come out at the target's size.
        """
        draw = None
        if self.random and epoch is not None:
            draw = torch.Generator().manual_seed(mix_seed(self.seed, epoch, row))
        image = self.pictures[row]
        for transform in self.transforms:
            image = transform.apply(image, self.size, draw)
        if (image.height, image.width) != self.size:
            raise PictureError(
                f"data.transforms: {self.pictures.name(row)} comes out at {(image.height, image.width)}, "
                f"not at image_size {self.size}; add CenterCrop, Resize or Pad"
            )
        return channels_first(image)


def channels_first(image: Image.Image) -> Pixels:
    """A picture as (C, H, W) intensities."""
    pixels = np.array(image)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
