"""Samples and generation strips of all rows on one sheet each, for a README.

Letters: P pictures of a class, S steps, I images followed, C channels, H and W sides.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from arlab.compare.charts import shortened
from arlab.compare.pictures import as_png, enlarged, tiled
from arlab.compare.record import Row
from arlab.compare.samples import samples, strip
from arlab.drawing.colours import GRAY
from arlab.drawing.marks import Sheet, text_width

_SIZE = 15
_LINE = 22
_MARGIN = 14
_GAP = 10
_MOST_CLASSES = 10
_PICTURES = 2
_FOLLOWED = 2


def samples_sheet(rows: Sequence[Row]) -> bytes | None:
    """Real images, then a line per row; two pictures of each of the first ten classes. None without pictures."""
    found = samples(rows)[:_MOST_CLASSES]
    if not found:
        return None
    lines: list[tuple[str, list[Tensor | None]]] = [("real images", [each.real_PCHW for each in found])]
    lines += [(row.name, [each.of_rows[number] for each in found]) for number, row in enumerate(rows)]
    blocks = [(name, [_block(image, _PICTURES, columns=_PICTURES) for image in images]) for name, images in lines]
    return _sheet(blocks, [each.name for each in found], [[] for _ in lines])


def strips_sheet(rows: Sequence[Row]) -> bytes | None:
    """A line per row, two images after each of the steps shown, which are told below; None without strips."""
    shown = [(row.name, steps) for row in rows if (steps := strip(row))]
    if not shown:
        return None
    blocks = [(name, [_block(image, _FOLLOWED, columns=1) for _, image in steps]) for name, steps in shown]
    return _sheet(blocks, [], [[f"step {step}" for step, _ in steps] for _, steps in shown])


def _block(image_BCHW: Tensor | None, most: int, *, columns: int) -> Image.Image | None:
    if image_BCHW is None:
        return None
    picture = Image.fromarray(tiled(image_BCHW[:most], columns))
    times = enlarged(tuple(image_BCHW.shape[-2:]))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def _sheet(
    lines: Sequence[tuple[str, list[Image.Image | None]]], headings: Sequence[str], below: Sequence[Sequence[str]]
) -> bytes:
    """Names on the left, blocks of pictures beside them, headings above columns, words below blocks."""
    blocks = [block for _, line in lines for block in line if block is not None]
    told = max((text_width(text, _SIZE) for texts in (headings, *below) for text in texts), default=0)
    width = max(told, *(block.width for block in blocks)) + _GAP
    left = _MARGIN + max(text_width(shortened(name), _SIZE) for name, _ in lines) + 2 * _GAP
    above = _LINE if any(headings) else 0
    heights = [
        max((block.height for block in line if block is not None), default=_LINE) + (_LINE if texts else 0) + _GAP
        for (_, line), texts in zip(lines, below, strict=True)
    ]
    columns = max(len(line) for _, line in lines)
    sheet = Sheet(left + columns * width + _MARGIN, _MARGIN + above + sum(heights) + _MARGIN - _GAP)
    for column, heading in enumerate(headings):
        sheet.text(left + column * width, _MARGIN - 2, heading, _SIZE, GRAY)
    top = _MARGIN + above
    for (name, line), texts, height in zip(lines, below, heights, strict=True):
        sheet.text(_MARGIN, top + (height - _GAP - (_LINE if texts else 0) - _SIZE) / 2 - 2, shortened(name), _SIZE)
        for column, block in enumerate(line):
            if block is not None:
                sheet.image.paste(block, (left + column * width, top))
        for column, text in enumerate(texts):
            sheet.text(left + column * width, top + height - _GAP - _LINE + 1, text, _SIZE - 2, GRAY)
        top += height
    return as_png(sheet.image)
