"""Image tensors to pictures on disk.

Letters: B images, C channels (1 or 3), H and W sides.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from arlab.ranges import require
from arlab.runs.files import written_whole

Picture = npt.NDArray[np.uint8]


def to_uint8(image_BCHW: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8 0 .. 255, rounded; what lies outside is clipped."""
    return ((image_BCHW.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def image_grid(image_BCHW: Tensor, columns: int, padding: int = 2, scale: int = 1) -> Picture:
    """Images in [-1, 1] side by side on white, row by row, as one uint8 picture (height, width, 3).

    Args:
        image_BCHW: gray or RGB.
        columns: images per row.
        padding: white pixels around each image, before scaling.
        scale: every pixel becomes scale x scale pixels.

    Raises:
        ValueError: there is no image, or it is neither gray nor RGB, or a number is out of range.
    """
    count, channels, height, width = image_BCHW.shape
    if count == 0 or channels not in (1, 3):
        raise ValueError(f"a picture needs images (B, C, H, W) with C = 1 or 3, got {tuple(image_BCHW.shape)}")
    require("columns", columns, at_least=1)
    require("padding", padding, at_least=0)
    require("scale", scale, at_least=1)
    columns = min(columns, count)
    rows = -(-count // columns)
    cell_height, cell_width = height + padding, width + padding
    picture = np.full((rows * cell_height + padding, columns * cell_width + padding, 3), 255, dtype=np.uint8)
    pixels = to_uint8(image_BCHW).permute(0, 2, 3, 1).cpu().numpy()
    for index, image in enumerate(pixels):
        row, column = divmod(index, columns)
        top, left = padding + row * cell_height, padding + column * cell_width
        picture[top : top + height, left : left + width] = image
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def save_png(picture: Picture, path: str | Path) -> Path:
    """Write a picture; the file appears whole or not at all. Missing folders are made."""
    with written_whole(path) as draft:
        Image.fromarray(picture).save(draft, format="PNG")
    return Path(path)
