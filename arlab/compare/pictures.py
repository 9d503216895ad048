"""Images side by side as PNG files, in memory.

Letters: B images, C channels, H and W sides.
"""

from __future__ import annotations

import base64
import io

from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from arlab.images import Picture, image_grid

_LARGEST_SIDE = 128
_SHOWN_SIDE = 56


def tiled(image_BCHW: Tensor, columns: int) -> Picture:
    """uint8 images side by side with a pixel of white between; large ones are made smaller by a whole factor."""
    smaller = shrink(tuple(image_BCHW.shape[-2:]))
    value_BCHW = image_BCHW.float() / 127.5 - 1
    if smaller > 1:
        value_BCHW = avg_pool2d(value_BCHW, smaller, ceil_mode=True)
    return image_grid(value_BCHW, columns, padding=1)


def shrink(size: tuple[int, ...]) -> int:
    """By which factor images of this size are made smaller; 1 up to 128 pixels a side."""
    return -(-max(size) // _LARGEST_SIDE)


def enlarged(size: tuple[int, ...]) -> int:
    """How many times as large images of this size are shown, so that they are about 56 pixels a side at least."""
    return max(1, round(_SHOWN_SIDE / max(1, max(size))))


def as_png(picture: Picture | Image.Image) -> bytes:
    """A PNG file."""
    held = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(held, format="PNG", optimize=True)
    return held.getvalue()


def embedded(content: bytes, kind: str) -> str:
    """A file as an address that holds it; kind: png, svg+xml."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
