"""Image sets in the format of the package datasets, from a local folder or a hub."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from arlab.data.facts import DataFacts
from arlab.data.files.array_labels import classes_of, numbers_of
from arlab.data.files.digest import digest
from arlab.data.files.hub import Encoded, load
from arlab.data.files.split import Rows, hold_out
from arlab.data.loaders import Split
from arlab.data.own import OwnData, Source, check_channels, sides
from arlab.data.pictures import Selected
from arlab.data.transforms import Transform
from arlab.ranges import require

_NAMES = {
    Split.TRAIN: ("train", "training"),
    Split.VALIDATION: ("validation", "valid", "val", "dev"),
    Split.TEST: ("test",),
}
_LOOKED_AT = 2048


class HuggingFaceDataset(OwnData):
    """A data set of the package datasets: one on the hub, a folder written by save_to_disk, or one it can load.

    Parts called train, validation and test are taken as such; of what is missing a share of the training images is
    held out. Needs the package datasets (pip install datasets).

        data = HuggingFaceDataset(path="uoft-cs/cifar10", image_size=32)

    Args:
        path: a folder, or the set's name on the hub.
        image_size: height and width the model works on, or one number for both.
        name: which configuration of the set, where it has several.
        channels: 3 for RGB, 1 for gray; images are converted.
        image_column: where the images are; null: the one column of images.
        label_column: where the classes are; null: the one column of classes, or no classes.
        transforms: from a picture to ``image_size``, in order; null: CenterCrop.
        validation_fraction: share of training images held out for validation, and for testing, where there are none.
        in_memory: whether images are kept in memory; null: up to 2 GiB of them.
        batch_size: images per step and process.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.

    Raises:
        ValueError: an option is out of range; the set or a column of it is missing (told when it is loaded).
    """

    paths: ClassVar[frozenset[str]] = frozenset({"path"})

    def __init__(
        self,
        *,
        path: str,
        image_size: int | tuple[int, int],
        name: str | None = None,
        channels: int = 3,
        image_column: str | None = None,
        label_column: str | None = None,
        transforms: list[Transform] | None = None,
        validation_fraction: float = 0.1,
        in_memory: bool | None = None,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            transforms=transforms, in_memory=in_memory, batch_size=batch_size, seed=seed, num_workers=num_workers
        )
        check_channels(channels)
        require("data.validation_fraction", validation_fraction, above=0, below=1)
        self.path = path
        self.configuration = name
        self.image_size = sides(image_size)
        self.channels = channels
        self.image_column = image_column
        self.label_column = label_column
        self.validation_fraction = validation_fraction

    @cached_property
    def _sets(self) -> dict[Split, Any]:
        """The parts there are, their images not decoded."""
        loaded = load(self.path, self.configuration)
        named = dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
        found = {part: named[name] for part, names in _NAMES.items() for name in reversed(names) if name in named}
        if Split.TRAIN not in found and len(named) == 1:
            found = {Split.TRAIN: next(iter(named.values()))}
        if Split.TRAIN not in found:
            raise ValueError(f"data.path: {self.path} has no part called train; it has {', '.join(named)}")
        column = self._column("image_column", self.image_column, "Image", found[Split.TRAIN].features, required=True)
        image = importlib.import_module("datasets").Image(decode=False)
        return {part: data.cast_column(column, image) for part, data in found.items()}

    def _column(
        self, key: str, given: str | None, feature_name: str, features: dict[str, Any], *, required: bool
    ) -> str | None:
        """The column that is named, or the only one of a kind of feature; None where there is none of it.

        Raises:
            ValueError: there is no such column, several of the kind, or none of it where one is required.
        """
        columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())
        fitting = [name for name, feature in features.items() if type(feature).__name__ == feature_name]
        if given is not None and given not in features:
            raise ValueError(f"data.{key}: {self.path} has no column {given!r}; it has {columns}")
        if required and (given or next(iter(fitting), None)) not in fitting:
            raise ValueError(f"data.{key}: {self.path} has no images in {given or 'any column'}; it has {columns}")
        if given is None and len(fitting) > 1:
            raise ValueError(f"data.{key}: several columns of {self.path} could be meant: {', '.join(fitting)}")
        return given if given is not None else next(iter(fitting), None)

    @cached_property
    def _classes(self) -> tuple[tuple[str, ...], dict[Split, list[int]]]:
        """Class names, and the labels of each part."""
        sets = self._sets
        features = sets[Split.TRAIN].features
        column = self._column("label_column", self.label_column, "ClassLabel", features, required=False)
        if column is None:
            return (), {part: [0] * len(data) for part, data in sets.items()}
        labels = {part: np.asarray(list(data[column])) for part, data in sets.items()}
        given = getattr(features[column], "names", None)
        class_names = classes_of(list(labels.values()), [column] * len(labels), given)
        return class_names, {part: numbers_of(array, class_names) for part, array in labels.items()}

    @cached_property
    def facts(self) -> DataFacts:
        return DataFacts(
            source=Path(self.path).name,
            channels=self.channels,
            image_size=self.image_size,
            class_names=self._classes[0],
        )

    def content(self) -> str | None:
        return self._content

    @cached_property
    def _content(self) -> str:
        return digest(entry for part, data in self._sets.items() for entry in self._entries(part, data))

    def _entries(self, part: Split, data: Any) -> Iterator[str]:
        """What up to 2,048 images of a part are, evenly spaced."""
        labels = self._classes[1][part]
        pictures = self._pictures(part)
        yield f"{part.value} {len(data)}"
        for row in range(0, len(data), max(1, math.ceil(len(data) / _LOOKED_AT))):
            yield f"{labels[row]} {hashlib.sha256(pictures.file(row).getvalue()).hexdigest()}"

    def _pictures(self, part: Split) -> Encoded:
        data = self._sets[part]
        column = self._column("image_column", self.image_column, "Image", data.features, required=True)
        return Encoded(data.select_columns([column]), column, f"{self.path} ({part.value})", self.channels)

    @cached_property
    def _rows(self) -> Rows:
        labels = self._classes[1][Split.TRAIN]
        validation = 0 if Split.VALIDATION in self._sets else self.validation_fraction
        test = 0 if Split.TEST in self._sets else self.validation_fraction
        return hold_out([str(row) for row in range(len(labels))], labels, validation, test, f"data.path: {self.path}")

    def source(self, split: Split) -> Source:
        if split in self._sets and split is not Split.TRAIN:
            return Source(self._pictures(split), self._classes[1][split])
        rows: list[int] = getattr(self._rows, split.value)
        labels = self._classes[1][Split.TRAIN]
        return Source(Selected(self._pictures(Split.TRAIN), rows), [labels[row] for row in rows])
