"""Files and folders that are whole or not there."""

from __future__ import annotations

import contextlib
import errno
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

    Raises:
        OSError: naming the path, never the draft, which nobody has asked for.
    """
    path = Path(path)
    if path.parent.exists() and not path.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        remove(draft)
        yield draft
        for file in draft.rglob("*") if draft.is_dir() else [draft]:
            _flush(file)
        os.replace(draft, path)
    except OSError as error:
        if isinstance(error.filename, (str, Path)) and Path(error.filename).is_relative_to(draft):
            error.filename = str(path / Path(error.filename).relative_to(draft))
        raise
    finally:
        # The error that is on its way says more than one of tidying up.
        with contextlib.suppress(OSError):
            remove(draft)


def refuse_unwritable(key: str, path: Path) -> None:
    """See that a path can be written, before work is put into what is to go there.

    Args:
        key: the option that names it.
        path: of a file or a folder; folders above it may be missing.

    Raises:
        ValueError: a file stands in its way, or there is no permission.
    """
    above = next(parent for parent in (*path.parents, Path()) if os.path.lexists(parent))
    if not above.is_dir():
        raise ValueError(f"{key}: {path} cannot be written, {above} is no folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{key}: {path} cannot be written, there is no permission to write into {above}")


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
