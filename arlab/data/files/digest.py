"""What images are, in sixteen hexadecimal digits, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

_LENGTH = 16
_WHOLE = 256 * 1024**2
_BLOCK = 1024**2
_MOST_SAMPLED = 256
_END = 4096


def digest(entries: Iterable[str]) -> str:
    """Of lines of text, in their order."""
    hashed = hashlib.sha256()
    for entry in entries:
        hashed.update(entry.encode("utf-8", "surrogateescape") + b"\n")
    return hashed.hexdigest()[:_LENGTH]


def file_digest(path: Path) -> str:
    """Of a file's bytes; of its size and 256 blocks of it, evenly spaced, where it is larger than 256 MiB."""
    size = path.stat().st_size
    hashed = hashlib.sha256(str(size).encode())
    step = _BLOCK if size <= _WHOLE else size // (_WHOLE // _BLOCK)
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            hashed.update(file.read(_BLOCK))
    return hashed.hexdigest()[:_LENGTH]


def ends_digest(paths: Sequence[Path]) -> str:
    """Of the first and last 4 KiB of at most 256 files, evenly spaced; a look at them, not a proof."""
    hashed = hashlib.sha256()
    for number in range(min(len(paths), _MOST_SAMPLED)):
        path = paths[number * len(paths) // min(len(paths), _MOST_SAMPLED)]
        if not path.is_file():
            continue
        with path.open("rb") as file:
            hashed.update(file.read(_END))
            file.seek(max(_END, path.stat().st_size - _END))
            hashed.update(file.read(_END))
    return hashed.hexdigest()[:_LENGTH]
