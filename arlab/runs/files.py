"""Files and folders that are whole or not there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

LEFTOVERS = "**/.*.tmp"


@contextlib.contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A draft beside a path, to be written as a file or a folder; it takes the path's place when the block ends well.

    The draft is flushed to the disk, then renamed: a kill at any moment leaves the old content or the new. Missing
    folders above are made. After an error nothing is left; after a kill a file that ``LEFTOVERS`` matches.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    remove(draft)
    try:
        yield draft
        for file in draft.rglob("*") if draft.is_dir() else [draft]:
            _flush(file)
        os.replace(draft, path)
    finally:
        remove(draft)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with written_whole(path) as draft:
        draft.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all it holds; nothing where there is none."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())
