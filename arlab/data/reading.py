"""From pictures to a part of an image set: what can be done once is done once, the rest every epoch.

Letters: N pictures, H and W sides.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from arlab.data.data import Part
from arlab.data.pictures import Arrays, PictureError, Pictures, Pixels, Transformed
from arlab.data.stream import Images
from arlab.data.transforms import Size, Transform

IN_MEMORY = 2 * 1024**3
"""Bytes of images up to which they are kept in memory, where that is left open."""
_PATIENCE = 3.0
_SAMPLED = 200
_BLOCK = 1024
_T = TypeVar("_T")


def part(
    pictures: Pictures,
    label_N: Tensor,
    transforms: Sequence[Transform],
    *,
    size: Size,
    seed: int,
    levels: int = 256,
    training: bool,
    in_memory: bool,
) -> Part:
    """A part of an image set. In memory, transforms before the first random one are applied now.

    Args:
        pictures: as they are.
        label_N: (N,) int64 class indices.
        transforms: applied in order.
        size: (H, W), what must come out.
        seed: of the random transforms.
        levels: how many intensities there are.
        training: whether random transforms are drawn.
        in_memory: whether the part is kept in memory.

    Raises:
        PictureError: pictures cannot be read (told when they are read).
    """
    if not in_memory:
        return Transformed(pictures, label_N, transforms, size=size, seed=seed, levels=levels)
    once, every_epoch = divided(transforms, training)
    if not every_epoch:
        whole = Transformed(pictures, label_N, once, size=size, seed=seed)
        pixels = read_all(pictures, lambda row: whole.pixel(row, None))
        return Images(torch.from_numpy(np.stack(pixels)), label_N, levels)

    def kept(row: int) -> Pixels:
        image = pictures[row]
        for transform in once:
            image = transform.apply(image, size, None)
        return np.array(image)

    arrays = Arrays(read_all(pictures, kept), "training image")
    return Transformed(arrays, label_N, every_epoch, size=size, seed=seed, levels=levels)


def divided(transforms: Sequence[Transform], training: bool) -> tuple[Sequence[Transform], Sequence[Transform]]:
    """What is done once, and what every epoch: from the first random transform on, in training."""
    first = next((n for n, transform in enumerate(transforms) if transform.random and training), len(transforms))
    return transforms[:first], transforms[first:]


def kept_bytes(pictures: Pictures, transforms: Sequence[Transform], size: Size, channels: int, training: bool) -> int:
    """How much memory a part would take; from some of its headers, where its pictures are kept as they are."""
    once, every_epoch = divided(transforms, training)
    if any(transform.sized for transform in once) or not every_epoch:
        return len(pictures) * channels * size[0] * size[1]
    rows = range(0, len(pictures), max(1, math.ceil(len(pictures) / _SAMPLED)))
    return channels * sum(pictures.pixels(row) for row in rows) * len(pictures) // max(1, len(rows))


def read_all(pictures: Pictures, read: Callable[[int], _T]) -> list[_T]:
    """Every picture read, with several threads where that helps; a bar on stderr where it takes seconds.

    Raises:
        PictureError: naming the first that cannot be read, and how many there are.
    """

    def tried(row: int) -> _T | PictureError:
        try:
            return read(row)
        except PictureError as error:
            return error

    with ThreadPoolExecutor(pictures.threads) as pool, _progress(len(pictures)) as advance:
        done: list[_T] = []
        failed: list[PictureError] = []
        # In blocks, so that an interruption need not wait for all that were handed out.
        for start in range(0, len(pictures), _BLOCK):
            for result in pool.map(tried, range(start, min(start + _BLOCK, len(pictures)))):
                advance()
                if isinstance(result, PictureError):
                    failed.append(result)
                else:
                    done.append(result)
    if len(failed) > 1:
        raise PictureError(f"{failed[0]} ({len(failed)} of {len(pictures)} images cannot be used; this is the first)")
    if failed:
        raise failed[0]
    return done


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    bar = Progress(console=Console(file=sys.stderr), transient=True)
    task = bar.add_task("reading images", total=total)
    start, done, shown = time.monotonic(), 0, False

    def advance() -> None:
        nonlocal done, shown
        done += 1
        if not shown and time.monotonic() - start > _PATIENCE:
            bar.start()
            shown = True
        if shown:
            bar.update(task, completed=done)

    try:
        yield advance
    finally:
        if shown:
            bar.stop()
