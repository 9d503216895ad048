"""Image files of any kind to gray or RGB pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from arlab.data.pictures import PictureError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
"""File names that stand for images, in any letter case."""
_REMEDY = "delete it or copy it again"
_WHITE_16 = 65535


def decode(file: Path | io.BytesIO, name: str, channels: int, background: str) -> Image.Image:
    """The first frame of an image file: turned upright (EXIF), without transparency, gray (mode L) or RGB.

    Args:
        file: a path, or a file's bytes.
        name: what to call it in a message.
        channels: 1 for gray, 3 for RGB.
        background: the colour transparent pixels are laid on.

    Raises:
        PictureError: it is no image, damaged, or too large.
    """
    try:
        if isinstance(file, Path) and file.stat().st_size == 0:
            raise PictureError(f"{name}: is empty (0 bytes); {_REMEDY}")
        with Image.open(file) as opened:
            upright = ImageOps.exif_transpose(opened)
            return _opaque(_eight_bit(upright, name), background).convert("L" if channels == 1 else "RGB")
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError(f"{name}: is not there, or a link to nothing; {_REMEDY}") from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{name}: is no image that can be read; {_REMEDY}") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise PictureError(f"{name}: has more than {limit} pixels; scale it down first") from error
    # A damaged file makes decoders raise whatever they stumble upon.
    except Exception as error:
        raise PictureError(f"{name}: is cut off or damaged ({' '.join(str(error).split())}); {_REMEDY}") from error


def pixels(file: Path | io.BytesIO) -> int:
    """Height times width, from the header; 0 where there is none (decoding it says why)."""
    try:
        with Image.open(file) as opened:
            return opened.width * opened.height
    except Exception:  # as above
        return 0


def _eight_bit(image: Image.Image, name: str) -> Image.Image:
    """16-bit gray as 8-bit; Pillow itself would clip it."""
    if image.mode == "F":
        raise PictureError(f"{name}: has floating-point intensities, whose range is unknown; save it as 8-bit")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _WHITE_16:
        raise PictureError(f"{name}: has 32-bit intensities beyond {_WHITE_16}; save it as 8-bit or 16-bit")
    return Image.fromarray(np.round(values * (255 / _WHITE_16)).astype(np.uint8))


def _opaque(image: Image.Image, background: str) -> Image.Image:
    """Without transparency."""
    if not image.has_transparency_data:
        return image.convert("RGB") if image.mode not in ("L", "1") else image
    coloured = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", coloured.size, background), coloured)
