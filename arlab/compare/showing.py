"""What is shown of a generator beside its figures, and how that is laid out on PNG files.

Letters: M generated images, K classes shown, P pictures of a class, S decoding steps shown, I images followed,
G generated images shown beside their nearest training images, B images on a picture, C channels, H and W sides.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.compare.drawing import Drawer
from arlab.compare.record import Shown
from arlab.images import Picture, image_grid

_FOLLOWED = 4
_SHOWN_SIDE = 64
_COLUMNS = 8
_WHITE = 255


def show(drawer: Drawer, drawn_MCHW: Tensor, real_KPCHW: Tensor, nearest_GCHW: Tensor) -> Shown:
    """What is shown of a generator; images that were not drawn yet are drawn.

    Args:
        drawer: draws by number.
        drawn_MCHW: images 0 .. M - 1.
        real_KPCHW: real images of the first K classes.
        nearest_GCHW: the training images nearest to images 0 .. G - 1.
    """
    facts = drawer.generator.facts
    classes, each = real_KPCHW.shape[:2]
    strip_SICHW, steps = drawer.strip(torch.arange(_FOLLOWED))
    return Shown(
        class_names=facts.class_names[:classes] or ("",),
        grid_KPCHW=_by_class(drawer, drawn_MCHW, classes, each),
        real_KPCHW=real_KPCHW,
        strip_SICHW=strip_SICHW,
        strip_steps=steps,
        neighbour_GCHW=drawn_MCHW[: len(nearest_GCHW)].clone(),
        nearest_GCHW=nearest_GCHW,
    )


def _by_class(drawer: Drawer, drawn_MCHW: Tensor, classes: int, each: int) -> Tensor:
    """The first images of each class, (K, P, C, H, W); where there are fewer, later numbers are drawn of that class."""
    label_M = drawer.labels(torch.arange(len(drawn_MCHW)))
    lines = []
    for label in range(classes):
        own_PCHW = drawn_MCHW[(label_M == label).nonzero()[:each, 0]]
        missing = each - len(own_PCHW)
        number_P = len(drawn_MCHW) + label * each + torch.arange(missing)
        lines.append(torch.cat([own_PCHW, drawer.draw(number_P, label_N=torch.full((missing,), label))]))
    return torch.stack(lines)


def samples_picture(shown: Shown) -> Picture:
    """A row per class."""
    return _picture(shown.grid_KPCHW.flatten(0, 1), shown.grid_KPCHW.shape[1])


def steps_picture(shown: Shown) -> Picture:
    """A row per step shown, a column per image."""
    return _picture(shown.strip_SICHW.flatten(0, 1), shown.strip_SICHW.shape[1])


def neighbours_picture(shown: Shown) -> Picture:
    """Rows of generated images, each above the row of the training images nearest to them."""
    columns = min(_COLUMNS, len(shown.neighbour_GCHW))
    missing = -len(shown.neighbour_GCHW) % columns
    both = []
    for image_GCHW in (shown.neighbour_GCHW, shown.nearest_GCHW):
        white_GCHW = image_GCHW.new_full((missing, *image_GCHW.shape[1:]), _WHITE)
        both.append(torch.cat([image_GCHW, white_GCHW]).unflatten(0, (-1, columns)))
    return _picture(torch.stack(both, 1).flatten(0, 2), columns)


def _picture(image_BCHW: Tensor, columns: int) -> Picture:
    """uint8 images side by side, small ones enlarged."""
    scale = max(1, _SHOWN_SIDE // int(image_BCHW.shape[-2]))
    return image_grid(image_BCHW / 127.5 - 1, columns, scale=scale)
