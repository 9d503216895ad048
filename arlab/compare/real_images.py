"""The real images that generated ones are measured against: which, what they are, and some of each class to show.

Letters: N images, B batch, K classes shown, P pictures of a class, C channels, H and W image sides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.data.data import Batch, Part
from arlab.images import to_uint8

MOST = 50_000
"""Of a larger part so many are drawn, always the same ones."""
_WHITE = 255


class Rows(Part):
    """Some of the images of a part.

    Args:
        part: all of them.
        row_N: which.
    """

    def __init__(self, part: Part, row_N: Tensor) -> None:
        self.part = part
        self.row_N = row_N

    def __len__(self) -> int:
        return len(self.row_N)

    def batch(self, row_B: Tensor, known: bool, epoch: int | None = None) -> Batch:
        return self.part.batch(self.row_N[row_B], known, epoch)


def chosen(part: Part) -> Part:
    """A part, or the 50,000 images of it that stand for it."""
    if len(part) <= MOST:
        return part
    order_N = torch.randperm(len(part), generator=torch.Generator().manual_seed(0))
    return Rows(part, order_N[:MOST].sort().values)


@dataclass(frozen=True)
class Looked:
    """What one look at all images of a part tells.

    Attributes:
        digest: the SHA-256 of all pixels and classes.
        counts: how many images each class has.
        real_KPCHW: the first P images of each class shown, uint8; white where there are fewer.
    """

    digest: str
    counts: tuple[int, ...]
    real_KPCHW: Tensor


def look(
    part: Part,
    *,
    num_classes: int,
    classes: int,
    each: int,
    batch_size: int,
    on_batch: Callable[[], None] | None = None,
) -> Looked:
    """Look at all images of a part.

    Args:
        part: the images, one at least.
        num_classes: how many classes there are, 1 without any.
        classes: K, the first ones.
        each: P.
        batch_size: B.
        on_batch: called after each batch.
    """
    digest = hashlib.sha256()
    found: list[list[Tensor]] = [[] for _ in range(classes)]
    counts = torch.zeros(num_classes, dtype=torch.long)
    for row_B in torch.arange(len(part)).split(batch_size):
        batch = part.batch(row_B, known=False)
        pixel_BCHW = to_uint8(batch.image).cpu()
        counts += batch.label.cpu().bincount(minlength=num_classes)
        # Image by image, so that the batch size does not count.
        for pixel_CHW, label in zip(pixel_BCHW, batch.label.tolist(), strict=True):
            digest.update(f"{tuple(pixel_CHW.shape)} {label} ".encode())
            digest.update(pixel_CHW.contiguous().numpy().tobytes())
            if label < classes and len(found[label]) < each:
                found[label].append(pixel_CHW)
        if on_batch is not None:
            on_batch()
    white_CHW = torch.full(pixel_BCHW.shape[1:], _WHITE, dtype=torch.uint8)
    rows = [torch.stack([*pixels, *[white_CHW] * (each - len(pixels))]) for pixels in found]
    return Looked(digest.hexdigest(), tuple(counts.tolist()), torch.stack(rows))
