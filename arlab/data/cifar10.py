"""CIFAR-10 in its binary version, which is not shipped.

Letters: N images.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from arlab.data.facts import DataFacts
from arlab.data.files.digest import digest, file_digest
from arlab.data.memory import MemoryData, Parts
from arlab.data.stream import Images
from arlab.data.transforms import Transform

_FOLDER = "cifar-10-batches-bin"
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_TEST = "test_batch.bin"
_RECORD = 1 + 3 * 32 * 32
_RECORDS = 10_000
_FACTS = DataFacts(
    source="cifar-10",
    channels=3,
    image_size=(32, 32),
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)


class CIFAR10(MemoryData):
    """50,000 training and 10,000 test RGB images of 32 x 32 in ten classes, read from the binary version.

    That is data_batch_1.bin to data_batch_5.bin and test_batch.bin, each of 10,000 records: a label, then red, green
    and blue, row by row. The last ``validation_size`` training images are held out for validation.

        data = CIFAR10(root="downloads/cifar-10-batches-bin")

    Args:
        root: the folder of these files, or the folder that holds cifar-10-batches-bin.
        batch_size: images per step and process.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.
        validation_size: how many training images are held out for validation.
        transforms: what is done to the images, in order; null: nothing.

    Raises:
        ValueError: an option is out of range; a file is missing or of another kind (told when it is read).
    """

    paths: ClassVar[frozenset[str]] = frozenset({"root"})

    def __init__(
        self,
        *,
        root: str,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        validation_size: int = 5000,
        transforms: list[Transform] | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            seed=seed,
            num_workers=num_workers,
            validation_size=validation_size,
            transforms=transforms,
        )
        if validation_size >= len(_TRAIN) * _RECORDS:
            raise ValueError(
                f"data.validation_size: {validation_size} leaves nothing of {len(_TRAIN) * _RECORDS} training images"
            )
        self.root = Path(root).expanduser()

    @property
    def facts(self) -> DataFacts:
        return _FACTS

    def content(self) -> str | None:
        return self._content

    @cached_property
    def _content(self) -> str:
        return digest(file_digest(path) for path in self._files)

    @cached_property
    def _files(self) -> list[Path]:
        """The six files.

        Raises:
            ValueError: one is missing or of the wrong size.
        """
        folder = self.root / _FOLDER if (self.root / _FOLDER).is_dir() else self.root
        if not folder.is_dir():
            raise ValueError(f"data.root: no such folder: {folder}")
        paths = [folder / name for name in (*_TRAIN, _TEST)]
        for path in paths:
            if not path.is_file():
                raise ValueError(f"data.root: {path} is missing; CIFAR10 reads the binary version ({_FOLDER})")
            size = path.stat().st_size
            if size != _RECORDS * _RECORD:
                raise ValueError(
                    f"data.root: {path} has {size} bytes, expected {_RECORDS * _RECORD} "
                    f"({_RECORDS} records of {_RECORD}); copy it again"
                )
        return paths

    def read(self) -> Parts:
        *train_paths, test_path = self._files
        train = _images(train_paths)
        kept = len(train) - self.validation_size
        return Parts(train[:kept], train[kept:], _images([test_path]))


def _images(paths: list[Path]) -> Images:
    """Records of label, red, green, blue.

    Raises:
        ValueError: a label is none of the ten.
    """
    records = []
    for path in paths:
        record = np.fromfile(path, dtype=np.uint8).reshape(-1, _RECORD)
        if record[:, 0].max() > 9:
            row = int(record[:, 0].argmax())
            raise ValueError(
                f"data.root: {path}, record {row}: label {record[row, 0]}, expected 0 .. 9 (is it CIFAR-10?)"
            )
        records.append(record)
    record_NR = torch.from_numpy(np.concatenate(records))
    return Images(record_NR[:, 1:].reshape(-1, 3, 32, 32), record_NR[:, 0].long())
