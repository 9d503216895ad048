"""Intervals around figures of a set of images, from random halves of the set.

Letters: N images, S halves, H images of a half.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.ranges import require

DEVIATIONS = 1.96
"""That a normal variable stays within 95 times in 100."""


@dataclass(frozen=True)
class Halves:
    """Random halves of a set, drawn without replacement.

    Drawn with replacement, as a bootstrap draws, a set would hold images twice: at distance 0 from each other they
    shrink the balls around nearest neighbours, and they enter sums over pairs of different images.

    The spread of a figure over halves is that of the figure over whole sets (delete-half jackknife): the variance of a
    mean over n of N images, σ² (1 / n - 1 / N), is σ² / N at n = N / 2. Where a figure is flat to first order, as a
    distance between equal distributions is, or saturates, the spread comes out too large.

    The Jackknife and Bootstrap, Shao and Tu, Springer 1995, section 2.3.

    Attributes:
        row_SH: (S, H) which images.
        count: N.
    """

    row_SH: Tensor
    count: int

    @classmethod
    def draw(cls, count: int, halves: int, seed: int = 0, label_N: Tensor | None = None) -> Halves:
        """Draw them.

        Args:
            count: N.
            halves: S.
            seed: of the draw.
            label_N: classes, where it was chosen how many images there are of each: a half then holds half of each.
                Otherwise the shares of the classes would count as chance.

        Raises:
            ValueError: there are fewer than 2 images or halves.
        """
        require("interval: images", count, at_least=2)
        require("interval: halves", halves, at_least=2)
        rng = torch.Generator().manual_seed(seed)
        class_N, size_K = torch.zeros(count, dtype=torch.long), torch.tensor([count])
        if label_N is not None:
            _, class_N, size_K = label_N.unique(return_inverse=True, return_counts=True)
        rows = []
        for _ in range(halves):
            # Of an odd number, one image is in neither half.
            row_N = torch.randperm(count, generator=rng)[: count - count % 2]
            place_K = torch.arange(len(size_K))
            if bool((size_K % 2 == 1).any()):
                # Of an odd class one is left over, and halved with that of the next: which, is drawn. In one order of
                # classes of a single image each there would be two halves only.
                place_K = torch.randperm(len(size_K), generator=rng)
            row_N = row_N[place_K[class_N[row_N]].argsort(stable=True)]
            first = int(torch.randint(2, (), generator=rng))
            rows.append(row_N[first::2])
        return cls(torch.stack(rows), count)

    def parts(self) -> Tensor:
        """(1 + S, N) bool: which images are in the whole set, then in each half."""
        part_SN = torch.zeros(len(self.row_SH), self.count, dtype=torch.bool).scatter_(1, self.row_SH, True)
        return torch.cat([torch.ones(1, self.count, dtype=torch.bool), part_SN])

    def each(self, statistic: Callable[[Tensor], float]) -> Tensor:
        """(S,) what a function of rows gives for each half."""
        return torch.tensor([statistic(row_H) for row_H in self.row_SH], dtype=torch.float64)

    def interval(self, value: float, of_half_S: Tensor) -> tuple[float, float]:
        """95 % interval around the figure of the whole set; NaN where fewer than 2 halves have that figure."""
        known_S = of_half_S.double()[of_half_S.isfinite()]
        if len(known_S) < 2:
            return math.nan, math.nan
        size = self.row_SH.shape[1]
        reach = DEVIATIONS * float(known_S.std()) * math.sqrt(size / (self.count - size))
        return value - reach, value + reach


def half_sample_interval(
    value: float,
    statistic: Callable[[Tensor], float],
    count: int,
    halves: int,
    seed: int,
    *,
    label_N: Tensor | None = None,
) -> tuple[float, float]:
    """95 % interval around a figure of ``count`` images: 1.96 standard deviations over random halves to each side.

    Args:
        value: of all images.
        statistic: the figure of some of them, given their rows.
        count: of the images.
        halves: how many to draw.
        seed: of the draw.
        label_N: see ``Halves.draw``.

    Raises:
        ValueError: there are fewer than 2 images or halves.
    """
    drawn = Halves.draw(count, halves, seed, label_N)
    return drawn.interval(value, drawn.each(statistic))
