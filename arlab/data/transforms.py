"""From pictures of any size to the size a model works on: cutting, scaling, filling, mirroring.

A random transform draws from the generator it is given and from nothing else. Without one (in evaluation) it does what
its docstring says under *Evaluation*.

Letters: H and W the target's sides, w and h those of the picture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from PIL import Image, ImageColor

from arlab.configurable import Configurable
from arlab.ranges import require

Size = tuple[int, int]
_FILTER = Image.Resampling.BICUBIC


class Transform(Configurable, ABC):
    """Maps a gray or RGB picture to another."""

    random: ClassVar[bool] = False
    """Whether it draws; what follows the first that does is done anew every epoch."""

    sized: ClassVar[bool] = True
    """Whether what it gives has the target's size."""

    exact: ClassVar[bool] = False
    """Whether it only moves pixels, so that images of fewer than 256 levels keep theirs."""

    @abstractmethod
    def apply(self, image: Image.Image, size: Size, draw: torch.Generator | None) -> Image.Image:
        """The picture transformed.

        Args:
            image: mode L or RGB.
            size: (H, W), the target's.
            draw: what to draw from; None in evaluation.
        """


class CenterCrop(Transform):
    """The largest centred rectangle of the target's shape, scaled to the target's size (bicubic, antialiased)."""

    def apply(self, image: Image.Image, size: Size, draw: torch.Generator | None) -> Image.Image:
        width, height = largest(image, size)
        # Whole pixels, so that a picture that need not be scaled is not blurred either.
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return _cut(image, (left, top, left + width, top + height), size)


class Resize(Transform):
    """The whole picture scaled to the target's size; its proportions change where the target's differ."""

    def apply(self, image: Image.Image, size: Size, draw: torch.Generator | None) -> Image.Image:
        return _cut(image, (0, 0, image.width, image.height), size)


class Pad(Transform):
    """The whole picture, scaled to fit inside the target and centred, the rest filled.

    Args:
        color: of what is filled, by name (white) or number (#ffffff).

    Raises:
        ValueError: there is no such colour.
    """

    def __init__(self, *, color: str = "white") -> None:
        check_color(color, "transforms.color")
        self.color = color

    def apply(self, image: Image.Image, size: Size, draw: torch.Generator | None) -> Image.Image:
        scale = min(size[0] / image.height, size[1] / image.width)
        height, width = (max(1, round(side * scale)) for side in (image.height, image.width))
        filled = Image.new(image.mode, (size[1], size[0]), ImageColor.getcolor(self.color, image.mode))
        inner = _cut(image, (0, 0, image.width, image.height), (height, width))
        filled.paste(inner, ((size[1] - width) // 2, (size[0] - height) // 2))
        return filled


class RandomCrop(Transform):
    """A random rectangle of the target's shape, scaled to the target's size.

    Its area is uniform in [min_scale, 1] of the largest such rectangle's, its place uniform over whole pixels.
    Evaluation: CenterCrop.

    Args:
        min_scale: the least share of the largest rectangle's area, above 0; 1: the largest, wherever it fits.

    Raises:
        ValueError: the share is not above 0 and at most 1.
    """

    random: ClassVar[bool] = True

    def __init__(self, *, min_scale: float = 0.6) -> None:
        require("transforms.min_scale", min_scale, above=0, at_most=1)
        self.min_scale = min_scale

    def apply(self, image: Image.Image, size: Size, draw: torch.Generator | None) -> Image.Image:
        if draw is None:
            return CenterCrop().apply(image, size, None)
        share, x, y = torch.rand(3, generator=draw, dtype=torch.float64).tolist()
        side = (self.min_scale + (1 - self.min_scale) * share) ** 0.5
        width, height = (length * side for length in largest(image, size))
        left = int(x * (int(image.width - width) + 1))
        top = int(y * (int(image.height - height) + 1))
        return _cut(image, (left, top, left + width, top + height), size)


class RandomFlip(Transform):
    """Left and right exchanged, or not. Evaluation: not.

    Args:
        probability: of the exchange.

    Raises:
        ValueError: it lies outside [0, 1].
    """

    random: ClassVar[bool] = True
    sized: ClassVar[bool] = False
    exact: ClassVar[bool] = True

    def __init__(self, *, probability: float = 0.5) -> None:
        require("transforms.probability", probability, at_least=0, at_most=1)
        self.probability = probability

    def apply(self, image: Image.Image, size: Size, draw: torch.Generator | None) -> Image.Image:
        if draw is None or float(torch.rand((), generator=draw, dtype=torch.float64)) >= self.probability:
            return image
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def largest(image: Image.Image, size: Size) -> tuple[float, float]:
    """Width and height of the largest rectangle of the target's shape that lies in the picture."""
    scale = min(image.height / size[0], image.width / size[1])
    return min(size[1] * scale, image.width), min(size[0] * scale, image.height)


def check_color(color: str, key: str) -> None:
    """See that a colour has a name or number.

    Raises:
        ValueError: it has not.
    """
    try:
        ImageColor.getrgb(color)
    except ValueError as error:
        raise ValueError(f"data.{key}: {color!r} is no colour; give a name (white) or a number (#ffffff)") from error


def refuse_inexact(transforms: Sequence[Transform], levels: int) -> None:
    """See that images of fewer than 256 levels keep theirs.

    Raises:
        ValueError: a transform would mix their intensities.
    """
    mixing = [type(transform).__name__ for transform in transforms if not transform.exact]
    if mixing and levels != 256:
        raise ValueError(
            f"data.transforms: {mixing[0]} mixes intensities, but these images take {levels} exact ones; "
            "only RandomFlip keeps them"
        )


def _cut(image: Image.Image, box: tuple[float, float, float, float], size: Size) -> Image.Image:
    box = (box[0], box[1], min(box[2], image.width), min(box[3], image.height))
    return image.resize((size[1], size[0]), _FILTER, box=box)
