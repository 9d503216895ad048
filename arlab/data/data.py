"""The contract of a data module: fixed facts, uint8 images in memory or behind an index, reproducible batches.

Letters: B batch, C channels (of tokens: width of a vector), H and W image sides, N tokens of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import lightning as L
from torch import Tensor

from arlab.configurable import Configurable
from arlab.data.facts import DataFacts


class Batch(NamedTuple):
    """What every loader yields.

    Attributes:
        image: (B, C, H, W) float32 in [-1, 1]; (B, 0) where tokens stand in for images.
        label: (B,) int64 class indices, 0 without classes.
        row: (B,) int64 which training image this is, where its pixels are the same every epoch; -1 where they are
            not (random augmentation). Tokens of such images may be kept from epoch to epoch.
        tokens: (B, N) int64 indices or (B, N, C) float32 vectors, where they were made before; else None.
        deviation: (B, N, C) standard deviation of tokens that are a Gaussian's means; else None.
    """

    image: Tensor
    label: Tensor
    row: Tensor
    tokens: Tensor | None = None
    deviation: Tensor | None = None


@dataclass(frozen=True)
class Tokenized:
    """Where tokens come from.

    Attributes:
        place: where they lie.
        tokenizer: what made them, as it is told.
        sha256: of the tokenizer (``arlab.tokenizers.identity``).
    """

    place: str
    tokenizer: str
    sha256: str


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

    carries_tokens: ClassVar[bool] = False
    """Whether batches carry tokens in place of images."""

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

    def sample(self) -> str | None:
        """A digest of some bytes of the images, where ``content`` counts none; a cache of tokens is compared by it.

        Raises:
            ValueError: the images cannot be found, or are not understood.
        """
        return None

    @property
    def tokenized(self) -> Tokenized | None:
        """Where the tokens come from that batches carry; None where they carry images.

        Raises:
            ValueError: they cannot be found, or are not understood.
        """
        return None

    def still(self) -> Iterator[Batch] | None:
        """Every training image once, in order of ``Batch.row``, if its pixels are the same every epoch; else None.

        A generator then tokenises them once per run instead of once per step. Also None where the images are too many
        to lie in memory.
        """
        return None
