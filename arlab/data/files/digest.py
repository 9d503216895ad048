"""What images are, in sixteen hexadecimal digits, wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_LENGTH = 16
_WHOLE = 256 * 1024**2
_BLOCK = 1024**2


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
