"""The contract of a data module: fixed facts, uint8 images in memory or behind an index, reproducible batches.

Letters: B batch, C channels, H and W image sides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import lightning as L
from torch import Tensor

from arlab.configurable import Configurable
from arlab.data.facts import DataFacts


class Batch(NamedTuple):
    """What every loader yields.

    Attributes:
        image: (B, C, H, W) float32 in [-1, 1].
        label: (B,) int64 class indices, 0 without classes.
        row: (B,) int64 which training image this is, where its pixels are the same every epoch; -1 where they are
            not (random augmentation). Tokens of such images may be kept from epoch to epoch.
    """

    image: Tensor
    label: Tensor
    row: Tensor


class Part(ABC):
    """A part of an image set, by row."""

    @abstractmethod
    def __len__(self) -> int:
        """How many images there are."""

    @abstractmethod
    def batch(self, row_B: Tensor, known: bool, epoch: int | None = None) -> Batch:
        """The images at ``row_B``, the same for the same arguments, in whatever process.

        Args:
            row_B: (B,) int64, which images.
            known: whether rows are told, where pixels are the same every epoch.
            epoch: what random transforms are drawn for; None: their deterministic counterparts.
        """


class ImageData(L.LightningDataModule, Configurable, ABC):
    """A LightningDataModule of images with train, validation and test parts."""

    paths: ClassVar[frozenset[str]] = frozenset()
    """Constructor arguments that say where the images lie; a run's key counts ``content`` in their place."""

    @property
    @abstractmethod
    def facts(self) -> DataFacts:
        """Known without decoding the images; listing a folder and reading headers is done once.

        Raises:
            ValueError: the images cannot be found, or are not understood.
        """

    def content(self) -> str | None:
        """A digest of what the images are, wherever they lie; None where they ship with a package.

        Raises:
            ValueError: the images cannot be found, or are not understood.
        """
        return None

    def still(self) -> Iterator[Batch] | None:
        """Every training image once, in order of ``Batch.row``, if its pixels are the same every epoch; else None.

        A generator then tokenises them once per run instead of once per step. Also None where the images are too many
        to lie in memory.
        """
        return None
