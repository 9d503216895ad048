"""Nearest training images: how near a generated image comes to one that was learned from.

Letters: M images, N training images, D features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from arlab.metrics.pairwise import blocks, distances


class Nearest(NamedTuple):
    """The nearest training image of each image.

    Attributes:
        distance_M: to it, in feature units.
        row_M: which it is.
    """

    distance_M: Tensor
    row_M: Tensor


def nearest(image_MD: Tensor, train_ND: Tensor) -> Nearest:
    """The nearest training image of each image, by Euclidean distance of features.

    Raises:
        ValueError: there is no image, or no training image.
    """
    if min(len(image_MD), len(train_ND)) < 1:
        raise ValueError(f"neighbours: need an image a set, got {len(image_MD)} and {len(train_ND)}")
    found = [distances(each_BD, train_ND).min(1) for each_BD in blocks(image_MD, len(train_ND))]
    return Nearest(torch.cat([each.values for each in found]), torch.cat([each.indices for each in found]))


def train_distance(generated_M: Tensor, unseen_N: Tensor) -> float:
    """Median distance of generated images to their nearest training image, divided by that of unseen real images.

    0: at least half of them are copies; about 1: no nearer than images that were not learned from. NaN where the
    unseen images lie at distance 0 themselves.

    Args:
        generated_M: distances of generated images (``nearest``).
        unseen_N: distances of real images that were not trained on.

    Raises:
        ValueError: one of them is empty.
    """
    if min(len(generated_M), len(unseen_N)) < 1:
        raise ValueError(f"train_distance: needs an image a set, got {len(generated_M)} and {len(unseen_N)}")
    # Of an even number, between the two in the middle; torch.median takes the lower one.
    ours, theirs = (float(each.double().quantile(0.5)) for each in (generated_M, unseen_N))
    return ours / theirs if theirs > 0 else torch.nan
