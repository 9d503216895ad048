"""The contract of a denoiser: the network that looks at noised tokens and says what is data in them, or noise.

Letters: B batch, S slots, M tokens predicted, K noised copies of a token, C token vector width, P numbers per token
that come out, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from arlab.configurable import Configurable
from arlab.heads.head import Predict
from arlab.orderings.step import Step


@dataclass(frozen=True)
class Denoised:
    """What a denoiser says, (B, M, K, P), under the condition and, where guidance asks for it, without."""

    conditional: Tensor
    unconditional: Tensor | None = None

    def guided(self, guidance_scale: float) -> Tensor:
        """u + s (c - u), (B, M, K, P)."""
        if self.unconditional is None or guidance_scale == 1.0:
            return self.conditional
        return self.unconditional + guidance_scale * (self.conditional - self.unconditional)


class Denoise(Protocol):
    """Denoises the tokens of a step, as often as it is asked."""

    def __call__(self, noisy_BMKC: Tensor, time_BMK: Tensor) -> Denoised:
        """What is said of values noised to these times, t = 0 data, t = 1 noise."""


class Denoiser(nn.Module, Configurable, ABC):
    """A network f(x_t, t, what the backbone says); the same for every head that takes noise away.

    Per-token networks look at the backbone once a step and then run alone. Where the backbone itself is the network,
    it runs at every call; the ordering then feeds it NOISY slots.
    """

    by_backbone: bool = False
    """Whether the backbone is the network, so that the ordering must feed NOISY slots; otherwise it must not."""
    together: bool = False
    """Whether tokens that are drawn together are seen together, and so are noised to one time."""

    @abstractmethod
    def bind(self, width: int, token_width: int, outputs: int, ways: int) -> None:
        """Create the weights.

        Args:
            width: D.
            token_width: C.
            outputs: P.
            ways: how many outputs of the backbone there are.
        """

    @abstractmethod
    def look(self, predict: Predict, step: Step) -> Denoise:
        """What denoises the tokens that this step (or teacher-forced pass) reads."""

    def embed_time(self, time_BS: Tensor) -> Tensor:
        """Where the backbone is the network: times of its slots to what modulates them, (B, S, D)."""
        raise TypeError(f"{type(self).__name__} does not noise what the backbone is fed")
