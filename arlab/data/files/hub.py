"""The package datasets, which is optional: loading a data set, and its images one by one."""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from arlab.data.files.decode import decode, pixels
from arlab.data.pictures import PictureError, Pictures

_SAVED = ("state.json", "dataset_dict.json")
_PATIENCE = 10.0


class Encoded(Pictures):
    """The images of a part, decoded when asked for.

    Args:
        data: the part, its images not decoded.
        column: where they are.
        what: what to call the part.
        channels: 3 for RGB, 1 for gray.
    """

    def __init__(self, data: Any, column: str | None, what: str, channels: int) -> None:
        self.data = data
        self.column = column
        self.what = what
        self.channels = channels

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Image.Image:
        return decode(self.file(row), self.name(row), self.channels, "white")

    def name(self, row: int) -> str:
        return f"image {row} of {self.what}"

    def pixels(self, row: int) -> int:
        return pixels(self.file(row))

    def file(self, row: int) -> io.BytesIO:
        """The bytes of an image's file."""
        entry = self.data[row][self.column]
        if entry is None:
            raise PictureError(f"{self.name(row)}: there is none in this row; leave such rows out")
        return io.BytesIO(entry["bytes"] if entry["bytes"] is not None else Path(entry["path"]).read_bytes())


def load(path: str, configuration: str | None) -> Any:
    """One data set of the package datasets, or several by the names of parts.

    Raises:
        ValueError: the package is missing, or there is no such set.
    """
    try:
        datasets = importlib.import_module("datasets")
    except Exception as error:  # a broken installation raises anything
        raise ValueError("data: HuggingFaceDataset needs the package datasets: pip install datasets") from error
    folder = Path(path).expanduser()
    try:
        if any((folder / name).is_file() for name in _SAVED):
            return datasets.load_from_disk(str(folder))
        if folder.exists():
            return datasets.load_dataset(str(folder), configuration)
        with _quickly(datasets, path):
            return datasets.load_dataset(path, configuration)
    except Exception as error:  # whatever a loading script or the network raises
        reason = " ".join(str(error).split()) or type(error).__name__
        where = "" if folder.exists() else "no such folder here, and the hub gives none: "
        raise ValueError(f"data.path: {path!r} cannot be loaded ({where}{reason})") from error


@contextmanager
def _quickly(datasets: Any, path: str) -> Iterator[None]:
    """Where the hub cannot be reached, only what was loaded before is looked for, instead of trying for minutes."""
    before = datasets.config.HF_HUB_OFFLINE
    hub = importlib.import_module("huggingface_hub")
    try:
        hub.HfApi().dataset_info(path, timeout=_PATIENCE)
    except Exception as error:  # of which kind, depends on the version
        # An answer from the hub, a refusal too, means that it can be reached.
        datasets.config.HF_HUB_OFFLINE = before or getattr(error, "response", None) is None
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
