"""What data modules of a user's own images share: transforms to one size, kept in memory or read when needed.

Letters: H and W image sides.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from arlab.data.data import Part
from arlab.data.loaders import LoadedData, Split
from arlab.data.pictures import Pictures
from arlab.data.reading import IN_MEMORY, kept_bytes, part
from arlab.data.transforms import CenterCrop, Size, Transform


@dataclass(frozen=True)
class Source:
    """Pictures and their classes."""

    pictures: Pictures
    labels: Sequence[int]


class OwnData(LoadedData):
    """A user's own images, brought to one size.

    Args:
        transforms: from a picture to the size the model works on, in order; null: CenterCrop.
        in_memory: whether images are kept in memory; null: up to 2 GiB of them.
        batch_size: B, of one process; incomplete training batches are dropped.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.
    """

    def __init__(
        self,
        *,
        transforms: list[Transform] | None,
        in_memory: bool | None,
        batch_size: int,
        seed: int,
        num_workers: int,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, num_workers=num_workers)
        self.in_memory = in_memory
        self._chain: list[Transform] = [CenterCrop()] if transforms is None else list(transforms)

    @abstractmethod
    def source(self, split: Split) -> Source:
        """The pictures of a part, as they are."""

    def load(self, split: Split) -> Part:
        """A part of the images, transformed.

        Raises:
            ValueError: they cannot be found or read, or do not come out at the target's size.
        """
        source = self.source(split)
        return part(
            source.pictures,
            torch.tensor(source.labels, dtype=torch.int64),
            self._chain,
            size=self.facts.image_size,
            seed=self.seed,
            training=split is Split.TRAIN,
            in_memory=self._keeps(),
        )

    def _keeps(self) -> bool:
        """Decided on the training images, for all parts."""
        if self.in_memory is not None:
            return self.in_memory
        pictures = self.source(Split.TRAIN).pictures
        return kept_bytes(pictures, self._chain, self.facts.image_size, self.facts.channels, True) <= IN_MEMORY


def sides(image_size: int | Sequence[int], key: str = "image_size") -> Size:
    """(H, W) of an image size, which is one number for square images.

    Raises:
        ValueError: it is neither one positive number nor two.
    """
    both = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(both) != 2 or min(both) < 1:
        raise ValueError(f"data.{key}: must be a positive number, or two (height, width), got {image_size}")
    return both[0], both[1]


def check_channels(channels: int) -> None:
    """See that images are to be gray or RGB.

    Raises:
        ValueError: they are not.
    """
    if channels not in (1, 3):
        raise ValueError(f"data.channels: must be 1 (gray) or 3 (RGB), got {channels}")
