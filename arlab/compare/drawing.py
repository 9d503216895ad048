"""The images that a trained generator is judged by: image i has the class and the randomness of its number.

Letters: N images, B batch, C channels, H and W image sides, S decoding steps shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.compare.class_turns import class_turns
from arlab.compare.measured_size import Size, brought_to
from arlab.generators.generator import Generator
from arlab.generators.sampler import Partial, Sampler
from arlab.images import to_uint8
from arlab.rng import mix_seed

MOST_STEPS = 8
"""Decoding steps shown."""


@dataclass(frozen=True)
class Drawer:
    """Draws images by their numbers, on the device of the generator; where all classes are equal in number, the images
    that ``Trained.sample`` draws.

    Attributes:
        generator: the model.
        sampler: how it is drawn from.
        counts: real images of each class, whose proportions the drawn images have.
        seed: of all randomness.
        batch_size: images at a time, which changes none of them.
        size: (H, W) that they are brought to; None: their own.
    """

    generator: Generator
    sampler: Sampler
    counts: tuple[int, ...]
    seed: int
    batch_size: int
    size: Size | None = None

    def labels(self, number_N: Tensor) -> Tensor:
        """The class of each number, (N,); 0 without classes."""
        return class_turns(self.counts, int(number_N.max()) + 1)[number_N] if len(number_N) else number_N

    def draw(
        self,
        number_N: Tensor,
        on_step: Callable[[Partial], None] | None = None,
        label_N: Tensor | None = None,
    ) -> Tensor:
        """The images of these numbers, (N, C, H, W) uint8 on the CPU.

        Args:
            number_N: which images.
            on_step: called after each step of each batch.
            label_N: other classes than their own.
        """
        label_N = self.labels(number_N) if label_N is None else label_N
        channels, (height, width) = self.generator.facts.channels, self.size or self.generator.facts.image_size
        drawn = [torch.empty(0, channels, height, width, dtype=torch.uint8)]
        for first in range(0, len(number_N), self.batch_size):
            part = slice(first, first + self.batch_size)
            seeds = [mix_seed(self.seed, number) for number in number_N[part].tolist()]
            samples = self.sampler.sample(self.generator, label_N[part], seeds=seeds, on_step=on_step)
            drawn.append(self._pixels(samples.images))
        return torch.cat(drawn)

    def strip(self, number_N: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """What is known of images after some of their steps: (S, N, C, H, W) uint8, and the steps, counted from 1.

        At most eight steps, evenly spaced; the last shows the finished images.
        """
        shown: dict[int, list[Tensor]] = {}

        def on_step(partial: Partial) -> None:
            progress = partial.progress
            number = progress.step + 1
            # The finished images come after the last one.
            if number in _spaced(progress.steps) and number < progress.steps:
                shown.setdefault(number, []).append(self._pixels(partial.preview()))
            last.add(progress.steps)

        last: set[int] = set()
        finished_NCHW = self.draw(number_N, on_step)
        steps = (*sorted(shown), *last)
        return torch.stack([*(torch.cat(shown[number]) for number in sorted(shown)), finished_NCHW]), steps

    def _pixels(self, image_BCHW: Tensor) -> Tensor:
        return to_uint8(brought_to(image_BCHW, self.size)).cpu()


def _spaced(steps: int) -> set[int]:
    """At most eight of the numbers 1 .. steps, the last among them."""
    count = min(steps, MOST_STEPS)
    return {round((number + 1) * steps / count) for number in range(count)}
