"""A folder of image files."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from PIL import Image

from arlab.data.facts import DataFacts
from arlab.data.files.decode import decode, pixels
from arlab.data.files.digest import digest, ends_digest
from arlab.data.files.listing import Listing, list_folder
from arlab.data.files.split import hold_out
from arlab.data.loaders import Split
from arlab.data.own import OwnData, Source, check_channels, sides
from arlab.data.pictures import Pictures
from arlab.data.transforms import Transform, check_color
from arlab.ranges import require


class ImageFolder(OwnData):
    """Images of any size in a folder: the folders in it are the classes, in alphabetical order.

    Images that lie in the folder itself have no classes. Folders named train, val and test are taken as the parts;
    where one is missing, its share of the training images is held out, class by class, chosen by a hash of file names:
    the same images on every machine. Reads png, jpg, jpeg, webp, bmp, gif, tif and tiff, upright by their EXIF tag;
    other files and hidden ones are left out.

        data = ImageFolder(root="my_images", image_size=(32, 48))

    Args:
        root: the folder.
        image_size: height and width the model works on, or one number for both.
        channels: 3 for RGB, 1 for gray; files are converted.
        transforms: from a picture to ``image_size``, in order; null: CenterCrop.
        validation_fraction: share of images held out for validation, where no folder val is there.
        test_fraction: share of images held out for testing, where no folder test is there.
        background: colour behind transparent pixels, by name or number (#ffffff).
        in_memory: whether images are kept in memory; null: up to 2 GiB of them.
        batch_size: images per step and process.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.

    Raises:
        ValueError: an option is out of range; the folder cannot be understood (told when it is listed).
    """

    paths: ClassVar[frozenset[str]] = frozenset({"root"})

    def __init__(
        self,
        *,
        root: str,
        image_size: int | tuple[int, int],
        channels: int = 3,
        transforms: list[Transform] | None = None,
        validation_fraction: float = 0.1,
        test_fraction: float = 0.1,
        background: str = "white",
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
        require("data.test_fraction", test_fraction, above=0, below=1)
        check_color(background, "background")
        self.root = Path(root).expanduser()
        self.image_size = sides(image_size)
        self.channels = channels
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.background = background

    @cached_property
    def facts(self) -> DataFacts:
        return DataFacts(
            source=self.root.resolve().name,
            channels=self.channels,
            image_size=self.image_size,
            class_names=self._listings[Split.TRAIN].class_names,
        )

    def content(self) -> str | None:
        return self._content

    def sample(self) -> str | None:
        return ends_digest([self.root / name for part in self._listings.values() for name in part.names])

    @cached_property
    def _content(self) -> str:
        entries = [
            f"{split.value} {name} {_size(self.root / name)}"
            for split, part in self._listings.items()
            for name in part.names
        ]
        return digest(entries)

    @cached_property
    def _listings(self) -> dict[Split, Listing]:
        """The files of each part.

        Raises:
            ValueError: the folder cannot be understood, or a part would be empty.
        """
        found = list_folder(self.root)
        train = found.train
        held_out = hold_out(
            train.names,
            train.labels,
            0 if found.validation else self.validation_fraction,
            0 if found.test else self.test_fraction,
            f"data.root: {self.root}",
        )
        return {
            Split.TRAIN: _chosen(train, held_out.train),
            Split.VALIDATION: found.validation or _chosen(train, held_out.validation),
            Split.TEST: found.test or _chosen(train, held_out.test),
        }

    def source(self, split: Split) -> Source:
        listing = self._listings[split]
        return Source(_Files(self.root, listing.names, self.channels, self.background), listing.labels)


def folder_facts(root: Path) -> DataFacts:
    """What a folder of images is called, and its classes, one folder each.

    Raises:
        ValueError: there is no such folder, or no images in it.
    """
    return ImageFolder(root=str(root), image_size=1).facts


class _Files(Pictures):
    threads = 8

    def __init__(self, root: Path, names: list[str], channels: int, background: str) -> None:
        self.root = root
        self.names = names
        self.channels = channels
        self.background = background

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Image.Image:
        return decode(self.root / self.names[row], self.name(row), self.channels, self.background)

    def name(self, row: int) -> str:
        return str(self.root / self.names[row])

    def pixels(self, row: int) -> int:
        return pixels(self.root / self.names[row])


def _chosen(listing: Listing, rows: list[int]) -> Listing:
    return Listing([listing.names[row] for row in rows], [listing.labels[row] for row in rows], listing.class_names)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1
