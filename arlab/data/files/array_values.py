"""How arrays are read as images: where their channels lie, what their numbers mean.

Letters: N images, H and W sides, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from arlab.data.files.array_files import Array, Header
from arlab.data.pictures import Pictures, Pixels

_CHUNK = 1024


@dataclass(frozen=True)
class ArrayLayout:
    """The shape of an array of images: (N, H, W), (N, H, W, C) or (N, C, H, W).

    Attributes:
        channels: 1 or 3.
        image_size: (H, W).
        first: whether channels come before the sides.
    """

    channels: int
    image_size: tuple[int, int]
    first: bool = False


def layout_of(header: Header, name: str) -> ArrayLayout:
    """What the shape and type of an array say.

    Raises:
        ValueError: it cannot hold images, or can be understood in two ways.
    """
    shape, dtype = header
    if dtype.kind not in "buif":
        raise ValueError(f"data.images: array {name!r} has type {dtype}; images are numbers")
    if 0 in shape:
        raise ValueError(f"data.images: array {name!r} of shape {shape} holds no image")
    if len(shape) == 3:
        return ArrayLayout(1, (shape[1], shape[2]))
    if len(shape) != 4:
        raise ValueError(
            f"data.images: array {name!r} has shape {shape}; images are (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first and last:
        raise ValueError(
            f"data.images: array {name!r} of shape {shape} is (N, H, W, C) or (N, C, H, W); which, cannot be told"
        )
    if not (first or last):
        raise ValueError(f"data.images: array {name!r} of shape {shape} has neither 1 nor 3 channels, first or last")
    return ArrayLayout(shape[1], (shape[2], shape[3]), True) if first else ArrayLayout(shape[3], (shape[1], shape[2]))


@dataclass(frozen=True)
class Meaning:
    """What the numbers of an array mean as intensities.

    Attributes:
        text: in words.
        to_bytes: from numbers to intensities 0 .. 255.
    """

    text: str
    to_bytes: Callable[[Array], Pixels]


# Functions with names, so that loader processes can be handed them on every platform.
def _from_integers(part: Array) -> Pixels:
    return np.asarray(part, dtype=np.uint8)


def _from_bool(part: Array) -> Pixels:
    return np.where(part, 255, 0).astype(np.uint8)


def _from_unit(part: Array) -> Pixels:
    return np.asarray(np.rint(part * 255), dtype=np.uint8)


def _from_symmetric(part: Array) -> Pixels:
    return np.asarray(np.rint((part + 1) * 127.5), dtype=np.uint8)


_INTENSITIES = Meaning("intensities 0 .. 255", _from_integers)
_BLACK_AND_WHITE = Meaning("false is black, true white", _from_bool)
_UNIT = Meaning("0 is black, 1 white", _from_unit)
_SYMMETRIC = Meaning("-1 is black, 1 white", _from_symmetric)


def meaning_of(array: Array, name: str) -> Meaning:
    """Read off the type and range of an array.

    Raises:
        ValueError: a number is infinite or none, or the range could mean several things.
    """
    if array.dtype.kind == "b":
        return _BLACK_AND_WHITE
    # Reads no further than it must: a large file may lie on a disk.
    if array.dtype == np.uint8 and any(part.max() > 1 for part in _chunks(array)):
        return _INTENSITIES
    low, high = _range(array, name)
    told = f"data.images: array {name!r} has {array.dtype} values from {low:g} to {high:g}"
    if array.dtype.kind in "ui":
        if low < 0 or high > 255:
            raise ValueError(f"{told}; give 8-bit intensities 0 .. 255")
        if high <= 1:
            raise ValueError(f"{told}; give bool for black and white, or intensities 0 .. 255")
        return _INTENSITIES
    if low >= 0 and high <= 1:
        return _UNIT
    if low >= -1 and high <= 1:
        return _SYMMETRIC
    raise ValueError(f"{told}; give values in [0, 1] or [-1, 1], or uint8")


def _range(array: Array, name: str) -> tuple[float, float]:
    lows, highs = [], []
    for number, part in enumerate(_chunks(array)):
        finite = np.isfinite(part).reshape(len(part), -1).all(axis=1)
        if not finite.all():
            first = number * _CHUNK + int(np.argmin(finite))
            raise ValueError(f"data.images: image {first} of array {name!r} has values that are infinite or no number")
        lows.append(float(part.min()))
        highs.append(float(part.max()))
    return min(lows), max(highs)


def _chunks(array: Array) -> Iterator[Array]:
    for start in range(0, len(array), _CHUNK):
        yield np.asarray(array[start : start + _CHUNK])


class ArrayPictures(Pictures):
    """Images of an array, converted when asked for.

    Args:
        array: of the images.
        layout: where its channels lie.
        meaning: of its numbers.
        name: of the array.
    """

    def __init__(self, array: Array, layout: ArrayLayout, meaning: Meaning, name: str) -> None:
        self.array = array
        self.layout = layout
        self.meaning = meaning
        self.called = name

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, row: int) -> Image.Image:
        pixels = self.meaning.to_bytes(self.array[row])
        if self.layout.channels == 1:
            return Image.fromarray(np.ascontiguousarray(pixels.reshape(self.layout.image_size)))
        return Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0) if self.layout.first else pixels))

    def name(self, row: int) -> str:
        return f"image {row} of array {self.called!r}"

    def pixels(self, row: int) -> int:
        return self.layout.image_size[0] * self.layout.image_size[1]
