"""The mixture head: a token is drawn from one of a few Gaussians, and its likelihood is exact.

Letters: B batch, S slots, M tokens predicted, K Gaussians, C width of a token vector, P = K (1 + 2 C) outputs per
token, R candidates, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.heads.head import Head, Predict, Predicted, Sampling, embeds
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Kind, Step
from arlab.precision import upcast
from arlab.ranges import require
from arlab.rng import Noise, Rng
from arlab.tokens import TokenSpace

_SMALLEST_STD = 1e-3

Mixture = tuple[Tensor, Tensor, Tensor]
"""Log-weights (B, M, K), means and deviations (B, M, K, C)."""


class GaussianMixtureHead(Head):
    """p(token) = Σ_k π_k N(token; μ_k, diag σ_k²), all of it linear in the hidden vector: π by softmax, σ by softplus.

    A σ is at least 0.001, so that no token, however often it is met, makes the likelihood infinite.

    The loss is the exact negative log-likelihood in nats, so that nats per token and image mean what they mean for
    codes, but as a density: below zero where it is above 1. Ways that meet are mixed as parameters (ours).

    Guidance draws from p_c^s / p_u^(s - 1), by R candidates from p_c, one of which is chosen with weights
    (p_c / p_u)^(s - 1): exact as R grows (ours; the paper rejects candidates instead). Temperature multiplies every σ
    of p_c; at 0 the likeliest μ_k is taken. Top-k and top-p have no meaning here: samplers refuse them.

    GIVT: Generative Infinite-Vocabulary Transformers, arXiv 2312.02116.

    Args:
        components: K.
        candidates: R, drawn for each token where it is guided.
        init_std: standard deviation of initial weights.
    """

    tells_probability = True
    truncates = False

    def __init__(self, *, components: int = 8, candidates: int = 32, init_std: float = 0.02) -> None:
        super().__init__()
        require("head.components", components, at_least=1, at_most=1024)
        require("head.candidates", candidates, at_least=1, at_most=1024)
        require("head.init_std", init_std, at_least=0)
        self.components = components
        self.candidates = candidates
        self.init_std = init_std

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        if Kind.NOISY in carries:
            raise ValueError(
                "head: GaussianMixtureHead looks at no noised tokens, which this ordering feeds; choose FlowHead or "
                "DiffusionHead, or an ordering without noised slots, e.g. Raster"
            )
        if space.discrete:
            raise ValueError(
                "head: GaussianMixtureHead needs continuous tokens (a KLTokenizer's), this tokenizer has a codebook; "
                "for codes choose DiscreteHead"
            )
        self.width = space.width
        self.input = nn.Linear(space.width, width) if embeds(carries) else None
        outputs = self.components * (1 + 2 * space.width)
        self.outputs = nn.ModuleList(nn.Linear(width, outputs) for _ in range(ways))
        for layer in (*self.outputs, *(() if self.input is None else (self.input,))):
            nn.init.normal_(layer.weight, std=self.init_std)
            nn.init.zeros_(layer.bias)
        for output in self.outputs:
            assert isinstance(output, nn.Linear)
            # Equal Gaussians would stay equal: their means start apart, where standardised tokens lie.
            nn.init.normal_(output.bias[self.components : self.components * (1 + space.width)])

    def embed(self, tokens: Tensor) -> Tensor:
        assert self.input is not None, "the ordering did not say that it feeds tokens"
        h_BSD: Tensor = self.input(tokens.to(self.input.weight.dtype))
        return h_BSD

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        return -_log_density(*self._mixture(predict()), upcast(target))

    def log_prob(self, predict: Predict, step: Step, target: Tensor) -> Tensor | None:
        return _log_density(*self._mixture(predict()), upcast(target))

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        predicted, token = predict(), step.read.token
        mixture = self._mixture(predicted)
        guided = predicted.unconditional is not None and guidance_scale != 1.0
        if sampling.temperature == 0:
            token_RBMC = mixture[1].movedim(2, 0)
        else:
            numbers = range(self.candidates if guided else 1)
            token_RBMC = torch.stack([self._drawn(mixture, sampling, token, noise, number) for number in numbers])
        log_RBM = torch.stack([_log_density(*mixture, token_BMC) for token_BMC in token_RBMC])
        ratio_RBM = torch.zeros_like(log_RBM)
        if guided:
            assert predicted.unconditional is not None
            free = self._mixture(Predicted(predicted.unconditional))
            ratio_RBM = log_RBM - torch.stack([_log_density(*free, token_BMC) for token_BMC in token_RBMC])
        ratio_RBM = (guidance_scale - 1) * ratio_RBM
        if sampling.temperature == 0:
            chosen_BM = (log_RBM + ratio_RBM).argmax(0)
        else:
            # The candidates have taken the draws before this one.
            chosen_BM = _chosen(ratio_RBM.movedim(0, -1), noise.uniform(token, len(token_RBMC)))
        token_BMC = token_RBMC.gather(0, chosen_BM[None, ..., None].expand(-1, -1, -1, self.width))[0]
        return Drawn(token_BMC, log_RBM.gather(0, chosen_BM[None])[0])

    def _mixture(self, predicted: Predicted) -> Mixture:
        out_BMP = upcast(predicted.conditional.mix(list(self.outputs)))
        size = self.components * self.width
        logits_BMK, mean, raw = out_BMP.split([self.components, size, size], -1)
        std = F.softplus(raw) + _SMALLEST_STD
        each = (self.components, self.width)
        return logits_BMK.log_softmax(-1), mean.unflatten(-1, each), std.unflatten(-1, each)

    def _drawn(self, mixture: Mixture, sampling: Sampling, token: Tensor, noise: Noise, number: int) -> Tensor:
        """A draw (B, M, C): one of the Gaussians, then a point of it."""
        log_weight_BMK, mean_BMKC, std_BMKC = mixture
        which_BM = _chosen(log_weight_BMK, noise.uniform(token, number))
        index_BM1C = which_BM[..., None, None].expand(-1, -1, 1, self.width)
        mean_BMC, std_BMC = (each.gather(2, index_BM1C)[:, :, 0] for each in (mean_BMKC, std_BMKC))
        return mean_BMC + sampling.temperature * std_BMC * noise.normal(token, self.width, number)


def _log_density(log_weight_BMK: Tensor, mean_BMKC: Tensor, std_BMKC: Tensor, token_BMC: Tensor) -> Tensor:
    """log p(token) in nats, (B, M)."""
    z_BMKC = (token_BMC[:, :, None] - mean_BMKC) / std_BMKC
    log_BMK = -(0.5 * z_BMKC.square() + std_BMKC.log() + 0.5 * math.log(2 * math.pi)).sum(-1)
    return (log_weight_BMK + log_BMK).logsumexp(-1)


def _chosen(logits_BMK: Tensor, uniform_BM: Tensor) -> Tensor:
    """An index (B, M) drawn from softmax(logits), by inverting the cumulative distribution."""
    cumulative_BMK = logits_BMK.softmax(-1).cumsum(-1)
    index_BM = (cumulative_BMK < uniform_BM[..., None] * cumulative_BMK[..., -1:]).sum(-1)
    return index_BM.clamp(max=logits_BMK.shape[-1] - 1)
