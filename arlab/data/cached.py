"""Tokens that were made before, in place of images.

Letters: B batch, N tokens of an image, C width of a token vector.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from arlab.data.data import Batch, Part, Tokenized
from arlab.data.facts import DataFacts
from arlab.data.loaders import LoadedData, Split
from arlab.data.token_manifest import CachedPart, Manifest, read_manifest
from arlab.data.token_shards import ShardReader


class CachedTokens(LoadedData):
    """What ``arlab cache`` has written: a generator trains on it as on the images it was made of, without encoding.

    Batches come in the order they would have with the images and the same ``seed`` and ``batch_size``. Epoch e uses
    view e mod K of K. Only generators on the very tokenizer that made the cache can use it. Files are compared with
    what was written when training begins, and read from where they lie.

        arlab fit --config experiments/fashion/raster.yaml --data CachedTokens --data.folder cache/fashion

    Args:
        folder: the cache.
        batch_size: images per step and process.
        seed: of the shuffling.
        num_workers: loader processes; 0 is fastest.

    Raises:
        ValueError: an option is out of range; the cache cannot be read, or is damaged (told when it is read).
    """

    paths: ClassVar[frozenset[str]] = frozenset({"folder"})
    carries_tokens: ClassVar[bool] = True

    def __init__(self, *, folder: str, batch_size: int = 64, seed: int = 0, num_workers: int = 0) -> None:
        super().__init__(batch_size=batch_size, seed=seed, num_workers=num_workers)
        self.folder = Path(folder).expanduser()

    @cached_property
    def manifest(self) -> Manifest:
        """What the cache says of itself.

        Raises:
            ValueError: it cannot be read.
        """
        return read_manifest(self.folder)

    @property
    def facts(self) -> DataFacts:
        return self.manifest.facts

    @property
    def tokenized(self) -> Tokenized | None:
        maker = self.manifest.tokenizer
        return Tokenized(str(self.folder), str(maker), maker.sha256)

    def content(self) -> str | None:
        return self.manifest.content

    def load(self, split: Split) -> Part:
        """The tokens of a part.

        Raises:
            ValueError: a file is missing, cut off or damaged.
        """
        part = self.manifest.parts[split.value]
        return _Tokens(ShardReader(self.folder, part.shards), part)


class _Tokens(Part):
    def __init__(self, reader: ShardReader, part: CachedPart) -> None:
        self.reader = reader
        self.part = part

    def __len__(self) -> int:
        return self.part.images

    def batch(self, row_B: Tensor, known: bool, epoch: int | None = None) -> Batch:
        view = 0 if epoch is None else epoch % self.part.views
        held = self.reader.rows(row_B + view * self.part.images)
        deviation = held.get("deviation")
        told = known and self.part.views == 1
        return Batch(
            image=torch.empty(len(row_B), 0),
            label=held["label"],
            row=row_B if told else torch.full_like(row_B, -1),
            tokens=_widened(held["tokens"]),
            deviation=None if deviation is None else _widened(deviation),
        )


def _widened(values: Tensor) -> Tensor:
    """Indices as int64, vectors as float32."""
    return values.float() if values.is_floating_point() else values.long()
