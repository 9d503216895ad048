"""What a checkpoint or an export is, wherever it lies."""

from __future__ import annotations

import hashlib
from pathlib import Path

from arlab.runs.resolve import EXPORT_FILE


def content_of(path: Path) -> str:
    """The first 8 hexadecimal digits of the SHA-256 of a file, or of an export's weights and description.

    Cards, configurations and what a hub lays beside them do not make another model.
    """
    digest = hashlib.sha256()
    files = [*path.glob("*.safetensors"), path / EXPORT_FILE] if path.is_dir() else [path]
    for each in sorted(files):
        with each.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()[:8]
