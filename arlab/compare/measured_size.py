"""Figures of images at another size than a generator draws them in, as papers tell them of larger models.

Letters: B images, C channels, H and W image sides.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from arlab.configurable import from_spec
from arlab.data.loaders import LoadedData

Size = tuple[int, int]


def asked_size(asked: Size | None, own: Size) -> Size | None:
    """The size (H, W) that images are brought to; None where it is their own.

    Raises:
        ValueError: its proportions are others than theirs.
    """
    if asked is None or asked == own:
        return None
    (height, width), (own_height, own_width) = asked, own
    if width != round(height * own_width / own_height) and height != round(width * own_height / own_width):
        raise ValueError(f"image_size: expected the proportions of the model's {own}, got {asked}")
    return asked


def brought_to(image_BCHW: Tensor, size: Size | None) -> Tensor:
    """Images as their own, or bicubically at a size, as LlamaGen's script does it: neither antialiased nor clipped."""
    return image_BCHW if size is None else F.interpolate(image_BCHW, size, mode="bicubic")


def images_at(data: LoadedData, size: Size) -> LoadedData:
    """The same images, read at another size.

    Raises:
        ValueError: they have one only.
    """
    spec: Any = data.spec()
    if "image_size" not in spec["init_args"]:
        name, own = type(data).__name__, data.facts.image_size
        raise ValueError(f"image_size: the images of {name} are of {own} only, got {size}; leave it out")
    return from_spec({**spec, "init_args": {**spec["init_args"], "image_size": list(size)}}, LoadedData)


def in_words(size: Size | None, own: Size) -> str | None:
    """'256 x 256, of 384 x 384, bicubic'; None of images as they are."""
    return None if size is None else f"{size[0]} x {size[1]}, of {own[0]} x {own[1]}, bicubic"
