"""What chunks of the softmax loss save and cost: python -m tests.benchmarks.chunked_loss.

Each arm runs in a process of its own, forward and backward over the same hidden vectors: peak memory above what the
process held before (of all it ever held at once, as the operating system counts it), the median time of a step, and
how far losses and gradients are from those without chunks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.heads.discrete import DiscreteHead
from arlab.heads.head import Hidden, Predicted
from arlab.orderings.ordering import Prefix, condition_slots
from arlab.orderings.step import Kind, Layout, Read, Step
from arlab.rng import BatchRng
from arlab.tokens import TokenSpace


@dataclass(frozen=True)
class Size:
    """Of a batch: B images of N tokens, out of V codes, from vectors of D."""

    images: int
    tokens: int
    codes: int
    width: int


@dataclass(frozen=True)
class Cost:
    """Of a step.

    Attributes:
        megabytes: at the peak, above what there was before.
        seconds: the median.
        loss: its mean.
        gradient: of the vectors.
    """

    megabytes: float
    seconds: float
    loss: float
    gradient: Tensor


def measure(size: Size, chunk: int | None, steps: int) -> Cost:
    """One arm."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    head = DiscreteHead(zero_init=False, chunk=chunk)
    head.bind(size.width, TokenSpace(8, size.codes), 1, carries=frozenset({Kind.COND, Kind.COMPUTED}))
    values = torch.randn(size.images, size.tokens, size.width)
    target = torch.randint(size.codes, (size.images, size.tokens))
    # Gradients are there in any case, and so is what PyTorch loads when it is first asked.
    for few in (1, 2):
        _step(head, values[:1, :few], target[:1, :few])
    before = _peak()
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        loss, gradient = _step(head, values, target)
        times.append(time.perf_counter() - start)
    return Cost(_peak() - before, statistics.median(times), float(loss), gradient)


def _step(head: DiscreteHead, values: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The mean loss, and its gradient with respect to the vectors."""
    images, tokens = target.shape
    read = Read.own(torch.arange(tokens), torch.arange(tokens))
    ways = values.clone().requires_grad_()
    predicted = Predicted(Hidden((ways,), read, Layout(((tokens,),))))
    step = Step(condition_slots(Prefix(tokens)), read)
    loss = head.loss(lambda: predicted, step, target, BatchRng(0, images)).mean()
    loss.backward()
    assert ways.grad is not None
    return loss.detach(), ways.grad


def _peak() -> float:
    # Kilobytes, but on macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Print a row per chunk."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--codes", type=int, default=16384)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--chunks", type=int, nargs="*", default=[1024, 256, 64])
    arguments = parser.parse_args()
    size = Size(arguments.images, arguments.tokens, arguments.codes, arguments.width)
    table = 4 * size.images * size.tokens * size.codes / 2**20
    print(f"{size}, all logits: {table:.0f} MB")
    print(f"{'chunk':>6} {'peak MB':>8} {'of all':>7} {'s':>6} {'of all':>7} {'loss':>9} {'gradient':>9}")
    whole: Cost | None = None
    # So that what is freed goes back at once, and memory is what tensors take; read by each process when it begins.
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**20)
    for chunk in (None, *arguments.chunks):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            cost = pool.apply(measure, (size, chunk, arguments.steps))
        whole = cost if whole is None else whole
        apart = float((cost.gradient - whole.gradient).abs().max() / whole.gradient.abs().max())
        print(
            f"{chunk or 'all':>6} {cost.megabytes:8.0f} {cost.megabytes / whole.megabytes:7.3f} {cost.seconds:6.2f} "
            f"{cost.seconds / whole.seconds:7.2f} {abs(cost.loss - whole.loss):9.1e} {apart:9.1e}"
        )


if __name__ == "__main__":
    main()
