"""The contract of a head: from hidden vectors to a distribution over the tokens of a step.

Letters: B batch, S slots fed, M tokens predicted, K reads per token, D width, P outputs per token, C token vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from arlab.configurable import Configurable
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Layout, Read, Step
from arlab.precision import in_float32
from arlab.ranges import require
from arlab.rng import Noise, Rng
from arlab.tokens import TokenSpace


@dataclass(frozen=True)
class Hidden:
    """What the backbone says about the tokens of a step.

    Attributes:
        ways: one (B, S, D) tensor per way.
        read: which slots predict which token, by which way, mixed how.
        layout: where the tokens lie, for heads that attend among them.
    """

    ways: tuple[Tensor, ...]
    read: Read
    layout: Layout

    def mix(self, outputs: Sequence[nn.Module]) -> Tensor:
        """Σ_k weight_mk · outputs[way_mk](h[slot_mk]), shape (B, M, P): ways are mixed after their output layers.

        In float32 under autocast, output layers included.
        """
        return _mixed(self.read, outputs, *self.ways)


@in_float32
def _mixed(read: Read, outputs: Sequence[nn.Module], *ways: Tensor) -> Tensor:
    if read.single:
        out: Tensor = outputs[0](ways[0][:, read.slot[:, 0]])
        return out
    mixed: Tensor | None = None
    for way, (row, slot, weight) in read.by_way.items():
        part = outputs[way](ways[way][:, slot]) * weight[:, None]
        if mixed is None:
            mixed = part.new_zeros(part.shape[0], len(read), part.shape[-1])
        mixed = mixed.index_add(1, row, part.to(mixed.dtype))
    assert mixed is not None
    return mixed


@dataclass(frozen=True)
class Predicted:
    """Hidden vectors under the condition and, where guidance asks for it, without."""

    conditional: Hidden
    unconditional: Hidden | None = None


class Predict(Protocol):
    """Runs the backbone on the step at hand.

    Heads that look once call it without arguments. A head whose denoiser is the backbone itself calls it in its own
    loop with the noised tokens (B, M, C) and a time per token (B, M), t = 0 data, t = 1 noise.
    """

    def __call__(self, noisy: Tensor | None = None, time: Tensor | None = None) -> Predicted:
        """Hidden vectors for the tokens being predicted."""


@dataclass(frozen=True)
class Sampling:
    """How sharply to draw.

    Attributes:
        temperature: divides logits, scales noise; 0 takes the most likely token.
        top_k: draw among this many most likely tokens; 0 = all.
        top_p: of those, the fewest whose probabilities sum to at least this; 1 = all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        require("temperature", self.temperature, at_least=0)
        require("top_k", self.top_k, at_least=0)
        require("top_p", self.top_p, above=0, at_most=1)


class Head(nn.Module, Configurable, ABC):
    """A distribution over tokens; configured first, bound to width and token space later.

    Under autocast a head computes in float32: ``Hidden.mix`` does, and what a head does besides it decorates with
    ``arlab.precision.in_float32``. ``predict`` is called as it is, since the backbone is what autocast is for.
    """

    @abstractmethod
    def bind(self, width: int, space: TokenSpace, ways: int, *, embeds: bool) -> None:
        """Create the weights.

        Args:
            width: D.
            space: what tokens are.
            ways: how many outputs of the backbone there are.
            embeds: whether any slot carries a token (next-scale feeds none).

        Raises:
            ValueError: the head cannot model such tokens.
        """

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """What a TOKEN slot carries: (B, S) indices or (B, S, C) vectors to (B, S, D)."""

    @abstractmethod
    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        """Per-token training loss (B, M); nats where the head has a likelihood.

        Args:
            predict: runs the backbone on the teacher-forced pass.
            step: that pass; ``step.group_M`` tells which tokens are drawn together.
            target: the true tokens, (B, M) or (B, M, C), in the order of the pass's reads.
            rng: for heads that draw noise or times.
        """

    @abstractmethod
    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        """Draw the tokens of a step.

        Args:
            predict: runs the backbone on the step's slots.
            step: which tokens are drawn, and how far decoding has come.
            guidance_scale: s in u + s (c - u), in the head's own terms; 1 = no guidance.
            sampling: temperature, top-k, top-p.
            noise: position-indexed randomness, looked up by ``step.read.token``.
        """

    def log_prob(self, predict: Predict, step: Step, target: Tensor) -> Tensor | None:
        """Exact log-likelihood of the true tokens in nats, (B, M); None where the head has none."""
        return None
