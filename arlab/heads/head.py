"""The contract of a head: from hidden vectors to a distribution over the tokens of a step.

Letters: B batch, S slots fed, M tokens predicted, K reads per token, D width, P outputs per token, C token vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from arlab.configurable import Configurable
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Kind, Layout, Read, Step
from arlab.precision import in_float32
from arlab.ranges import require
from arlab.rng import Noise, Rng
from arlab.tokens import TokenSpace

CodeVectors = Callable[[Tensor], Tensor]
"""From codes (n,) to their vectors on each of L levels, (n, L, C): L times the same where these share a codebook."""


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

    def mix(self, outputs: Sequence[nn.Module], *beside: Tensor) -> Tensor:
        """Σ_k weight_mk · outputs[way_mk](h[slot_mk], *beside[:, m]), shape (B, M, ..., P).

        Ways are mixed after their output layers, in float32 under autocast, output layers included.

        Args:
            outputs: one per way, from (B, m, D) and what lies beside it.
            beside: what else an output is told of each token, (B, M, ...): noised values, times.
        """
        return _mixed(self.read, outputs, len(beside), *beside, *self.ways)


@in_float32
def _mixed(read: Read, outputs: Sequence[nn.Module], number: int, *tensors: Tensor) -> Tensor:
    beside, ways = tensors[:number], tensors[number:]
    if read.single:
        out: Tensor = outputs[0](ways[0][:, read.slot[:, 0]], *beside)
        return out
    mixed: Tensor | None = None
    for way, (row, slot, weight) in read.by_way.items():
        part = outputs[way](ways[way][:, slot], *(each[:, row] for each in beside))
        part = part * weight.reshape(-1, *(1,) * (part.dim() - 2))
        if mixed is None:
            mixed = part.new_zeros(part.shape[0], len(read), *part.shape[2:])
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

    tells_probability: bool = False
    """Whether ``draw`` tells the probability of what it drew, which orderings may choose by."""
    truncates: bool = True
    """Whether ``draw`` keeps to the likeliest values by top-k and top-p; where it does not, samplers refuse both."""

    @abstractmethod
    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        """Create the weights.

        Args:
            width: D.
            space: what tokens are.
            ways: how many outputs of the backbone there are.
            carries: the kinds of slots the ordering feeds; see ``embeds``.

        Raises:
            ValueError: the head cannot model such tokens, or not with such slots; it names what goes together.
        """

    def see_codebook(self, vectors: CodeVectors) -> None:
        """Called once after ``bind`` where tokens are codes; for heads that depend on what the codes stand for.

        What comes of it must be kept among the weights: a generator that is loaded sees another codebook first.

        Args:
            vectors: of the tokenizer's codes; looked up only if it is asked for.

        Raises:
            ValueError: the head cannot model such codes.
        """

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """What a TOKEN slot carries: (B, S) indices or (B, S, C) vectors to (B, S, D)."""

    def embed_time(self, time_BS: Tensor) -> Tensor:
        """Times of NOISY slots, (B, S) in [0, 1], to what modulates them beside the condition, (B, S, D)."""
        raise TypeError(f"{type(self).__name__} noises no tokens")

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

        A head may call ``predict`` any number of times; what stays in the cache is fed on the first call only.

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

    def bound(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor | None:
        """A draw (B, M) whose mean is a lower bound on the log-likelihood of the true tokens, in nats.

        Where the likelihood is known, that; None where the head has no bound either.
        """
        return self.log_prob(predict, step, target)


def embeds(carries: frozenset[Kind]) -> bool:
    """Whether any slot carries a token, clean or noised (next-scale feeds none)."""
    return bool(carries & {Kind.TOKEN, Kind.NOISY})
