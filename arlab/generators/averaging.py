"""The average of the weights that samples and checkpoints use."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

ParamList = Sequence[Tensor]


def average(decay: float) -> Callable[[ParamList, ParamList, Tensor | int], None]:
    """An exponential moving average that forgets its start: w̄ += (1 - d) (w - w̄), d = min(decay, (1 + n) / (10 + n)).

    n counts updates, so that short runs are not dominated by their initial weights.
    """

    @torch.no_grad()
    def update(averaged: ParamList, current: ParamList, num_averaged: Tensor | int) -> None:
        count = float(num_averaged)
        weight = 1 - min(decay, (1 + count) / (10 + count))
        floats = [(a, c) for a, c in zip(averaged, current, strict=True) if a.is_floating_point()]
        # Tensors come grouped by type, integers (of a head's groups of codes) by themselves.
        if floats:
            torch._foreach_lerp_([a for a, _ in floats], [c for _, c in floats], weight)
        for kept, new in zip(averaged, current, strict=True):
            if not kept.is_floating_point():
                kept.copy_(new)

    return update
