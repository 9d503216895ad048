"""Sampling with the key-value cache against recomputing every step: python -m tests.benchmarks.cached_sampling.

For raster order over T tokens the cache saves a factor of about T / 2 in token passes; attention and the fixed cost of
a step decide what is left of it.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from arlab.data.fashion_mnist import FashionMNIST
from arlab.generators.guidance import ConstantGuidance
from arlab.generators.sampler import Sampler
from tests.benchmarks.training_overhead import build


def main() -> None:
    """Print medians of both ways and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    generator = build(FashionMNIST())
    labels = torch.arange(arguments.num_images) % 10
    seeds = list(range(arguments.num_images))
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(arguments.rounds):
        for use_cache in (True, False):
            sampler = Sampler(guidance=ConstantGuidance(guidance_scale=2.0), use_cache=use_cache)
            start = time.perf_counter()
            sampler.sample(generator, labels, seeds=seeds)
            seconds[use_cache].append(time.perf_counter() - start)
    cached, recomputed = (statistics.median(seconds[use_cache]) for use_cache in (True, False))
    print(
        f"{arguments.num_images} images, guided, {generator.layout.num_tokens} steps, {torch.get_num_threads()} threads"
    )
    print(f"cached {cached:.2f} s, recomputed {recomputed:.2f} s, ratio {recomputed / cached:.1f}")


if __name__ == "__main__":
    main()
