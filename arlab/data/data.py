"""The contract of a data module: fixed facts, uint8 images in memory or behind an index, reproducible batches.

Letters: B batch, C channels, H and W image sides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

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


class ImageData(L.LightningDataModule, Configurable, ABC):
    """A LightningDataModule of images with train, validation and test parts."""

    @property
    @abstractmethod
    def facts(self) -> DataFacts:
        """Known without reading the images."""

    def still(self) -> Iterator[Batch] | None:
        """Every training image once, in order of ``Batch.row``, if its pixels are the same every epoch; else None.

        A generator then tokenises them once per run instead of once per step.
        """
        return None
