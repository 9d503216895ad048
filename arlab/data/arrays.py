"""Images in NumPy files."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from arlab.data.facts import DataFacts
from arlab.data.files.array_files import ArrayFile
from arlab.data.files.array_labels import classes_of, numbers_of
from arlab.data.files.array_values import ArrayLayout, ArrayPictures, Meaning, layout_of, meaning_of
from arlab.data.files.digest import digest, file_digest
from arlab.data.files.split import Rows, hold_out
from arlab.data.loaders import Split
from arlab.data.own import OwnData, Source, sides
from arlab.data.pictures import Selected
from arlab.data.transforms import CenterCrop, Transform
from arlab.ranges import require

_COMMON = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x", "y", None, None),
    ("images", "labels", None, None),
    ("arr_0", "arr_1", None, None),
)
_Names = tuple[str, str | None, str | None, str | None]


class ImageArrays(OwnData):
    """Images in a .npz file of named arrays, or in .npy files that lie side by side.

    Arrays are (N, H, W), (N, H, W, C) or (N, C, H, W), gray or RGB: integers 0 .. 255, booleans, or floats in [0, 1]
    or [-1, 1] (which of these is printed). Labels are integers from 0 or strings; without any there are no classes.
    In a .npz file x_train, y_train, x_test, y_test; x, y; images, labels and arr_0, arr_1 are known by their names.

        data = ImageArrays(file="cells.npz", images="cells", labels="kinds")

    Args:
        file: the .npz file, or the .npy file of the training images.
        images: name of the array of training images; null: one of the common names.
        labels: name of the array of their labels, or the .npy file beside ``file``; null: a common name, or none.
        test_images: the same for test images; null: a common name, or a share of the others.
        test_labels: the same for their labels.
        class_names: one per label, in order; null: the labels themselves.
        image_size: height and width the model works on, or one number for both; null: that of the arrays.
        transforms: from a picture to ``image_size``, in order; null: CenterCrop where ``image_size`` is given.
        validation_fraction: share of images held out for validation, and for testing where no test images are named.
        batch_size: images per step and process.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.

    Raises:
        ValueError: an option is out of range; the file or an array in it is no image set (told when it is read).
    """

    paths: ClassVar[frozenset[str]] = frozenset({"file"})

    def __init__(
        self,
        *,
        file: str,
        images: str | None = None,
        labels: str | None = None,
        test_images: str | None = None,
        test_labels: str | None = None,
        class_names: list[str] | None = None,
        image_size: int | tuple[int, int] | None = None,
        transforms: list[Transform] | None = None,
        validation_fraction: float = 0.1,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        resized: list[Transform] = [] if image_size is None else [CenterCrop()]
        super().__init__(
            transforms=resized if transforms is None else transforms,
            in_memory=None,
            batch_size=batch_size,
            seed=seed,
            num_workers=num_workers,
        )
        require("data.validation_fraction", validation_fraction, above=0, below=1)
        self.file = Path(file).expanduser()
        self.named = (images, labels, test_images, test_labels)
        self.class_names = class_names
        self.image_size = None if image_size is None else sides(image_size)
        self.validation_fraction = validation_fraction

    @cached_property
    def _file(self) -> ArrayFile:
        return ArrayFile(self.file)

    @cached_property
    def _names(self) -> _Names:
        """The arrays of training images and labels, test images and labels."""
        file = self._file
        keys = ("images", "labels", "test_images", "test_labels")
        given = [None if name is None else file.check(name, key) for name, key in zip(self.named, keys, strict=True)]
        common: tuple[str | None, ...] = (None if file.named else self.file.name, None, None, None)
        if file.named and given[0] is None:
            found = next((names for names in _COMMON if names[0] in file.names), None)
            if found is None:
                raise ValueError(f"data.images: which array of {self.file} holds images? {', '.join(file.names)}")
            common = tuple(name if name in file.names else None for name in found)
        images, labels, test_images, test_labels = (one or other for one, other in zip(given, common, strict=True))
        assert images is not None
        if test_images is not None and (labels is None) != (test_labels is None):
            raise ValueError("data.test_labels: give labels for both training and test images, or for neither")
        return images, labels, test_images, test_labels if test_images is not None else None

    @cached_property
    def _layout(self) -> ArrayLayout:
        images, _, test_images, _ = self._names
        layout = layout_of(self._file.header(images), images)
        if test_images is not None and layout_of(self._file.header(test_images), test_images) != layout:
            shapes = " and ".join(str(self._file.header(name)[0]) for name in (images, test_images))
            raise ValueError(f"data.test_images: training and test images differ in shape: {shapes}")
        return layout

    @cached_property
    def _labels(self) -> tuple[tuple[str, ...], dict[str, list[int]]]:
        """Class names, and the labels of each array of images."""
        images, labels, test_images, test_labels = self._names
        pairs = [(images, labels), (test_images, test_labels)]
        counts = {name: self._file.header(name)[0][0] for name, _ in pairs if name is not None}
        labelled = [(name, label) for name, label in pairs if name is not None and label is not None]
        if not labelled:
            if self.class_names is not None:
                raise ValueError("data.class_names: there are no labels to name")
            return (), {name: [0] * count for name, count in counts.items()}
        read = {name: self._file.read(label) for name, label in labelled}
        for name, label in labelled:
            if read[name].ndim == 1 and len(read[name]) != counts[name]:
                raise ValueError(f"data.labels: {len(read[name])} labels in {label!r} for {counts[name]} images")
        class_names = classes_of(list(read.values()), [label for _, label in labelled], self.class_names)
        return class_names, {name: numbers_of(array, class_names) for name, array in read.items()}

    @cached_property
    def facts(self) -> DataFacts:
        return DataFacts(
            source=self.file.stem,
            channels=self._layout.channels,
            image_size=self.image_size or self._layout.image_size,
            class_names=self._labels[0],
        )

    def content(self) -> str | None:
        return self._content

    @cached_property
    def _content(self) -> str:
        if self._file.named:
            return file_digest(self.file)
        return digest(file_digest(self.file.parent / name) for name in self._names if name is not None)

    @cached_property
    def _pictures(self) -> dict[str, ArrayPictures]:
        """The arrays of images, whose numbers mean the same."""
        pictures = {}
        meant: Meaning | None = None
        for name in (self._names[0], self._names[2]):
            if name is not None:
                array = self._file.read(name)
                meaning = meaning_of(array, name)
                if meant is not None and meaning != meant:
                    raise ValueError(
                        f"data.test_images: in training images {meant.text}, in test images {meaning.text}"
                    )
                if meant is None and array.dtype != np.uint8:
                    print(f"data: {self.file}, array {name!r}: {meaning.text}", file=sys.stderr)
                meant = meaning
                pictures[name] = ArrayPictures(array, self._layout, meaning, name)
        return pictures

    @cached_property
    def _rows(self) -> Rows:
        images, _, test_images, _ = self._names
        labels = self._labels[1][images]
        share = self.validation_fraction
        names = [str(row) for row in range(len(labels))]
        return hold_out(names, labels, share, share if test_images is None else 0, f"data.file: {self.file}")

    def source(self, split: Split) -> Source:
        images, _, test_images, _ = self._names
        if split is Split.TEST and test_images is not None:
            return Source(self._pictures[test_images], self._labels[1][test_images])
        rows: list[int] = getattr(self._rows, split.value)
        return Source(Selected(self._pictures[images], rows), [self._labels[1][images][row] for row in rows])
