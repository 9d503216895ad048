"""Which class each generated image is of: in the proportions of the real images it is compared with.

Letters: K classes, N images.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def class_turns(counts: Sequence[int], num_images: int) -> Tensor:
    """Classes of images 0 .. N - 1, (N,), such that every beginning holds them in the proportions of K counts.

    Image n is of the class k with the largest c_k (n + 1) / Σ c - (how many images before are of k), the first of
    several. Of equal counts that is each class in turn. Other proportions than the real ones would count as a distance.

    Args:
        counts: real images of each class; at least one image in all.
        num_images: N.
    """
    count_K = torch.tensor(counts, dtype=torch.long)
    owed_K, total = torch.zeros_like(count_K), int(count_K.sum())
    turns = []
    for _ in range(num_images):
        owed_K += count_K
        turn = int(owed_K.argmax())
        owed_K[turn] -= total
        turns.append(turn)
    return torch.tensor(turns, dtype=torch.long)
