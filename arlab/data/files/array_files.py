"""NumPy files: which arrays there are, their shapes and types without reading them, and the arrays themselves."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Header = tuple[tuple[int, ...], np.dtype[Any]]
SUFFIXES = (".npz", ".npy")


class ArrayFile:
    """A .npz file of named arrays, or a .npy file and others beside it, named by their file names.

    Args:
        path: of the file.

    Raises:
        ValueError: there is no such file, or of another kind.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise ValueError(f"data.file: no such file: {path}")
        if path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"data.file: {path} must be a .npz or a .npy file")
        self.path = path
        self.named = path.suffix.lower() == ".npz"

    @cached_property
    def names(self) -> list[str]:
        """The names of the arrays in a .npz file; the files beside a .npy file."""
        if not self.named:
            return sorted(path.name for path in self.path.parent.glob("*.npy"))
        try:
            with zipfile.ZipFile(self.path) as archive:
                return [name.removesuffix(".npy") for name in archive.namelist()]
        except (OSError, zipfile.BadZipFile) as error:
            raise self._damaged(error) from error

    def check(self, name: str, key: str) -> str:
        """A name, if there is such an array.

        Raises:
            ValueError: there is none.
        """
        known = name in self.names if self.named else (self.path.parent / name).is_file()
        if not known:
            where = f"in {self.path}" if self.named else f"beside {self.path}"
            raise ValueError(f"data.{key}: no array {name!r} {where}; there are: {', '.join(self.names)}")
        return name

    def header(self, name: str) -> Header:
        """Shape and type of an array.

        Raises:
            ValueError: the file is damaged, or holds Python objects.
        """
        try:
            with self._opened(name) as file:
                version = np.lib.format.read_magic(file)
                old = version == (1, 0)
                read = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
                shape, _, dtype = read(file)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self._damaged(error) from error
        if dtype.hasobject:
            raise ValueError(
                f"data.file: array {name!r} of {self.path} holds Python objects, which are not loaded; "
                "save numbers or strings of one type"
            )
        return shape, dtype

    @contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
        if not self.named:
            with (self.path.parent / name).open("rb") as file:
                yield file
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{name}.npy") as file:
            yield file

    def read(self, name: str) -> Array:
        """An array; of a .npy file only what is asked of it later is read.

        Raises:
            ValueError: the file is damaged, or holds Python objects.
        """
        self.header(name)
        try:
            if not self.named:
                lazy: Array = np.load(self.path.parent / name, allow_pickle=False, mmap_mode="r")
                return lazy
            with np.load(self.path, allow_pickle=False) as arrays:
                array: Array = arrays[name]
                return array
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ValueError:
        return ValueError(
            f"data.file: {self.path} is cut off or damaged ({' '.join(str(error).split())}); copy it again"
        )
