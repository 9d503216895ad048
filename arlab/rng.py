"""Randomness that is passed, never hidden: one stream per batch in training, one per sample in sampling.

Letters: B batch, N tokens of an image, M tokens drawn in one step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


def mix_seed(*parts: int) -> int:
    """A 63-bit seed from several integers (splitmix64 steps), so that (seed, step) and (seed + 1, step - 1) differ."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ (part & 0xFFFFFFFFFFFFFFFF)) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state & 0x7FFFFFFFFFFFFFFF


class Rng(ABC):
    """A source of random numbers for a batch, on the CPU; ``batch`` is their first dimension."""

    batch: int

    @abstractmethod
    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1), shape (B, *shape), float32."""

    @abstractmethod
    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, shape (B, *shape), float32."""

    def permutation(self, length: int) -> Tensor:
        """One uniformly drawn permutation of ``range(length)`` per sample, shape (B, length)."""
        return self.uniform(length).argsort(dim=-1)


class BatchRng(Rng):
    """One stream for the whole batch, for training; drawn on the CPU, so that a run draws the same on any device."""

    def __init__(self, seed: int, batch: int) -> None:
        self.batch = batch
        self._generator = torch.Generator().manual_seed(seed)

    def uniform(self, *shape: int) -> Tensor:
        return torch.rand(self.batch, *shape, generator=self._generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(self.batch, *shape, generator=self._generator)


class SampleRng(Rng):
    """One stream per sample: sample i of seed s is the same in any batch."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.batch = len(seeds)
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def uniform(self, *shape: int) -> Tensor:
        return torch.stack([torch.rand(shape, generator=g) for g in self._generators])

    def normal(self, *shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators])


class Noise:
    """Position-indexed noise: what a token receives depends on the sample and the token, not on step or batch.

    Args:
        seeds: one seed per sample.
        num_tokens: N, the number of tokens of an image.
        device: where the noise is used (it is always drawn on the CPU).
    """

    def __init__(self, seeds: Sequence[int], num_tokens: int, device: torch.device | str = "cpu") -> None:
        self.seeds = tuple(seeds)
        self.num_tokens = num_tokens
        self.device = torch.device(device)
        self._tables: dict[tuple[str, int, int], Tensor] = {}

    def again(self, number: int) -> Noise:
        """Other noise, for tokens that are drawn again; ``number`` tells drawings apart, 0 is this one."""
        if number == 0:
            return self
        return Noise([mix_seed(seed, 3, number) for seed in self.seeds], self.num_tokens, self.device)

    def uniform(self, token: Tensor, draw: int = 0) -> Tensor:
        """One uniform number per token of [B,] M, shape (B, M); ``draw`` counts draws for the same token."""
        if ("uniform", draw, 1) not in self._tables:
            rng = SampleRng([mix_seed(seed, 1, draw) for seed in self.seeds])
            self._tables["uniform", draw, 1] = rng.uniform(self.num_tokens).to(self.device)
        return self._tables["uniform", draw, 1].gather(1, token.expand(len(self.seeds), -1))

    def normal(self, token: Tensor, width: int, draw: int = 0) -> Tensor:
        """Standard normal vectors per token of [B,] M, shape (B, M, width)."""
        if ("normal", draw, width) not in self._tables:
            rng = SampleRng([mix_seed(seed, 2, draw) for seed in self.seeds])
            self._tables["normal", draw, width] = rng.normal(self.num_tokens, width).to(self.device)
        index_BMC = token.expand(len(self.seeds), -1)[..., None].expand(-1, -1, width)
        return self._tables["normal", draw, width].gather(1, index_BMC)
