"""Sums and averages over the processes of a distributed run, for what the Trainer does not average itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def summed(x: Tensor) -> Tensor:
    """The sum over all processes, in place; no gradient passes."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def mean_over_processes(mean: Tensor) -> Tensor:
    """The mean of the processes' means, for functions of it that every process computes alike.

    Its gradient is that of this process's mean: averaged over the processes, as distributed training averages
    gradients, that is the gradient of the whole batch.
    """
    if world_size() == 1:
        return mean
    return mean + (summed(mean.detach().clone()) / world_size() - mean).detach()


@torch.no_grad()
def average_(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their means over all processes, in place and in one message."""
    if world_size() == 1 or not tensors:
        return
    flat = summed(torch.cat([tensor.flatten() for tensor in tensors])) / world_size()
    for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(mean.view_as(tensor))


@torch.no_grad()
def from_first_(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by those of the first process, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
