"""What heads share that draw by taking noise away: continuous tokens, a denoiser, times, repeated draws.

Letters: B batch, S slots, M tokens predicted, K noised copies of a token, C token vector width, D width.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.denoiser import Denoiser
from arlab.heads.head import Head, embeds
from arlab.heads.token_mlp import TokenMLP
from arlab.orderings.step import Kind, Step
from arlab.ranges import require
from arlab.rng import Noise, Rng
from arlab.tokens import TokenSpace


class DenoisingHead(Head):
    """A head whose distribution is what is left of noise when a denoiser has taken it away step by step.

    Args:
        denoiser: the network; by default ``TokenMLP``, or ``BackboneDenoiser`` where the ordering feeds noised slots.
        repeats: K, how often each token is noised in a training step; where the backbone is the network, that many
            passes.
        bound_looks: how often the bound looks in validation beside its first look; 0 for no bound. Where the backbone
            is the network, each look is a pass.
        init_std: standard deviation of the initial weights that embed tokens.
    """

    truncates = False

    def __init__(self, *, denoiser: Denoiser | None, repeats: int, bound_looks: int, init_std: float) -> None:
        super().__init__()
        require("head.repeats", repeats, at_least=1, at_most=1024)
        require("head.bound_looks", bound_looks, at_least=0, at_most=1024)
        require("head.init_std", init_std, at_least=0)
        self.denoiser: Denoiser | None = denoiser
        self.repeats = repeats
        self.bound_looks = bound_looks
        self.init_std = init_std

    @property
    @abstractmethod
    def outputs_per_value(self) -> int:
        """How many numbers the denoiser says of each value of a token."""

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        name = type(self).__name__
        if space.discrete:
            # Codes cannot be noised, so with such an ordering no head draws them.
            noised = "codes cannot be noised as this ordering asks, choose a KLTokenizer"
            other = noised if Kind.NOISY in carries else "for codes choose DiscreteHead"
            raise ValueError(
                f"head: {name} needs continuous tokens (a KLTokenizer's), this tokenizer has a codebook; {other}"
            )
        denoiser = _default_denoiser(carries) if self.denoiser is None else self.denoiser
        network = type(denoiser).__name__
        if denoiser.by_backbone and Kind.NOISY not in carries:
            raise ValueError(
                f"head.denoiser: {network} needs an ordering that feeds noised slots (NextX, NextBlock); "
                "for this one choose TokenMLP"
            )
        if not denoiser.by_backbone and Kind.NOISY in carries:
            raise ValueError(
                f"head.denoiser: this ordering feeds noised slots, so the backbone is the network, not a {network}; "
                "choose BackboneDenoiser, or an ordering without noised slots, e.g. Masked"
            )
        self.space = space
        self.denoiser = denoiser
        self.remember("denoiser", denoiser)
        denoiser.bind(width, space.width, self.outputs_per_value * space.width, ways)
        self.input = nn.Linear(space.width, width) if embeds(carries) else None
        if self.input is not None:
            nn.init.normal_(self.input.weight, std=self.init_std)
            nn.init.zeros_(self.input.bias)

    @property
    def network(self) -> Denoiser:
        """The denoiser, once the head is bound."""
        assert self.denoiser is not None, "a head is bound before it is used"
        return self.denoiser

    def embed(self, tokens: Tensor) -> Tensor:
        assert self.input is not None, "the ordering did not say that it feeds tokens"
        h_BSD: Tensor = self.input(tokens.to(self.input.weight.dtype))
        return h_BSD

    def embed_time(self, time_BS: Tensor) -> Tensor:
        return self.network.embed_time(time_BS)

    def shared(self, value_BMK: Tensor, step: Step) -> Tensor:
        """The same, but one value for all tokens drawn together where the denoiser sees them together."""
        if not self.network.together:
            return value_BMK
        group_M = step.group_M.to(value_BMK.device)
        sorted_M, index_M = group_M.sort(stable=True)
        # The first of each group speaks for it.
        return value_BMK[:, index_M[torch.searchsorted(sorted_M, group_M)]]

    def noise_for(self, target: Tensor, rng: Rng) -> Tensor:
        """K standard normal vectors per token of (B, M, C), (B, M, K, C)."""
        return rng.normal(target.shape[1], self.repeats, target.shape[2]).to(target)

    def start(self, step: Step, noise: Noise, draw: int = 0) -> Tensor:
        """Position-indexed noise for the tokens of a step, (B, M, 1, C)."""
        return noise.normal(step.read.token, self.space.width, draw)[:, :, None]


def _default_denoiser(carries: frozenset[Kind]) -> Denoiser:
    """The backbone itself where the ordering feeds noised tokens, else an MLP per token."""
    return BackboneDenoiser() if Kind.NOISY in carries else TokenMLP()


def repeated(target_BMC: Tensor, repeats: int) -> Tensor:
    """(B, M, C) to (B, M, K, C), without a copy."""
    return target_BMC[:, :, None].expand(-1, -1, repeats, -1)
