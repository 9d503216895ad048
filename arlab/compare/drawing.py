"""The images that a trained generator is judged by: image i has the class and the randomness of its number.

Letters: N images, B batch, C channels, H and W image sides, S decoding steps shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.generators.generator import Generator
from arlab.generators.sampler import Partial, Sampler
from arlab.images import to_uint8
from arlab.rng import mix_seed

MOST_STEPS = 8
"""Decoding steps shown."""


@dataclass(frozen=True)
class Drawer:
    """Draws the images that ``Trained.sample`` draws, by their numbers, on the device of the generator.

    Attributes:
        generator: the model.
        sampler: how it is drawn from.
        seed: of all randomness.
        batch_size: images at a time, which changes none of them.
    """

    generator: Generator
    sampler: Sampler
    seed: int
    batch_size: int

    def labels(self, number_N: Tensor) -> Tensor:
        """The class of each number, (N,): all classes in turn; 0 without classes."""
        return number_N % max(1, self.generator.facts.num_classes)

    def draw(self, number_N: Tensor, on_step: Callable[[Partial], None] | None = None) -> Tensor:
        """The images of these numbers, (N, C, H, W) uint8 on the CPU.

        Args:
            number_N: which images.
            on_step: called after each step of each batch.
        """
        channels, (height, width) = self.generator.facts.channels, self.generator.facts.image_size
        drawn = [torch.empty(0, channels, height, width, dtype=torch.uint8)]
        for number_B in number_N.split(self.batch_size) if len(number_N) else ():
            seeds = [mix_seed(self.seed, number) for number in number_B.tolist()]
            samples = self.sampler.sample(self.generator, self.labels(number_B), seeds=seeds, on_step=on_step)
            drawn.append(to_uint8(samples.images).cpu())
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
                shown.setdefault(number, []).append(to_uint8(partial.preview()).cpu())
            last.add(progress.steps)

        last: set[int] = set()
        finished_NCHW = self.draw(number_N, on_step)
        steps = (*sorted(shown), *last)
        return torch.stack([*(torch.cat(shown[number]) for number in sorted(shown)), finished_NCHW]), steps


def _spaced(steps: int) -> set[int]:
    """At most eight of the numbers 1 .. steps, the last among them."""
    count = min(steps, MOST_STEPS)
    return {round((number + 1) * steps / count) for number in range(count)}
