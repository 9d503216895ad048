"""Folders of small pictures for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def picture(number: int, size: tuple[int, int] = (10, 12), channels: int = 3) -> Image.Image:
    """A picture of (height, width) that no other number has."""
    shape = size if channels == 1 else (*size, channels)
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8))


def save(path: Path, number: int = 0, size: tuple[int, int] = (10, 12)) -> Path:
    """A picture written to a file, folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(number, size).save(path)
    return path


def fill(root: Path, counts: dict[str, int]) -> Path:
    """A folder with so many pictures in each class folder, all of different sizes."""
    number = 0
    for name, count in counts.items():
        for index in range(count):
            number += 1
            save(root / name / f"{index:03d}.png", number, (8 + number % 5, 6 + number % 7))
    return root
