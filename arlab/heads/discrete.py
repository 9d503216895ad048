"""The discrete head: a softmax over the codebook.

Letters: B batch, S slots, M tokens predicted, D width, V codebook size, k top-k slice.
"""

from __future__ import annotations

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

_MOST_CODES = 2**22


class DiscreteHead(Head):
    """p(token) = softmax(W h), one W per way; ways that meet are mixed as logits, then normalised.

    Guidance: logits u + s (c - u). The loss is cross-entropy in float32 at least, in nats.

    Args:
        label_smoothing: mass spread evenly over the codebook in the training loss (the reported nats are without).
        bias: whether the outputs have biases (VAR's has).
        zero_init: start the first way's output at zero, that is from a uniform distribution.
        init_std: standard deviation of other initial weights.
    """

    tells_probability = True

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        bias: bool = False,
        zero_init: bool = True,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        require("head.label_smoothing", label_smoothing, at_least=0, below=1)
        require("head.init_std", init_std, at_least=0)
        self.label_smoothing = label_smoothing
        self.bias = bias
        self.zero_init = zero_init
        self.init_std = init_std

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        if Kind.NOISY in carries:
            raise ValueError(
                "head: DiscreteHead draws codes, which cannot be noised as this ordering asks; choose FlowHead or "
                "DiffusionHead with a KLTokenizer, or an ordering without noised slots, e.g. Raster"
            )
        if space.codebook_size is None:
            raise ValueError("head: DiscreteHead needs a tokenizer with a codebook, this one's tokens are continuous")
        if space.codebook_size > _MOST_CODES:
            raise ValueError(
                f"head: DiscreteHead lists a logit for every code, at most {_MOST_CODES}; this tokenizer has "
                f"{space.codebook_size}"
            )
        self.embedding = nn.Embedding(space.codebook_size, width) if embeds(carries) else None
        self.outputs = nn.ModuleList(nn.Linear(width, space.codebook_size, bias=self.bias) for _ in range(ways))
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=self.init_std)
        for way, output in enumerate(self.outputs):
            assert isinstance(output, nn.Linear)
            nn.init.normal_(output.weight, std=0.0 if self.zero_init and way == 0 else self.init_std)
            if output.bias is not None:
                nn.init.zeros_(output.bias)

    def embed(self, tokens: Tensor) -> Tensor:
        assert self.embedding is not None, "the ordering did not say that it feeds tokens"
        h_BSD: Tensor = self.embedding(tokens)
        return h_BSD

    def logits(self, predicted: Predicted, guidance_scale: float = 1.0) -> Tensor:
        """Guided logits (B, M, V), in float32 at least."""
        logits_BMV = upcast(predicted.conditional.mix(list(self.outputs)))
        if predicted.unconditional is None or guidance_scale == 1.0:
            return logits_BMV
        free_BMV = upcast(predicted.unconditional.mix(list(self.outputs)))
        return free_BMV + guidance_scale * (logits_BMV - free_BMV)

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        logits_BMV = self.logits(predict())
        smoothing = self.label_smoothing if self.training else 0.0
        loss = F.cross_entropy(logits_BMV.flatten(0, 1), target.flatten(), reduction="none", label_smoothing=smoothing)
        return loss.view_as(target)

    def log_prob(self, predict: Predict, step: Step, target: Tensor) -> Tensor | None:
        logits_BMV = self.logits(predict())
        return logits_BMV.log_softmax(-1).gather(-1, target[..., None])[..., 0]

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        logits_BMV = self.logits(predict(), guidance_scale)
        return draw_from_logits(logits_BMV, sampling, noise.uniform(step.read.token))


def draw_from_logits(logits_BMV: Tensor, sampling: Sampling, uniform_BM: Tensor) -> Drawn:
    """Draw by inverting the cumulative distribution at one uniform number per token.

    Temperature first, then top-k, then top-p inside the top-k slice. Only the slice is ever sorted.
    """
    if sampling.temperature == 0:
        log_prob_BM, tokens_BM = logits_BMV.log_softmax(-1).max(-1)
        return Drawn(tokens_BM, log_prob_BM)
    logits_BMV = logits_BMV / sampling.temperature
    codebook_size = logits_BMV.shape[-1]
    index_BMk = None
    if 0 < sampling.top_k < codebook_size or sampling.top_p < 1:
        logits_BMV, index_BMk = logits_BMV.topk(min(sampling.top_k or codebook_size, codebook_size), dim=-1)
    prob_BMk = logits_BMV.softmax(-1)
    if sampling.top_p < 1:
        # A token stays while the mass in front of it is below top_p; the first always does.
        before_BMk = prob_BMk.cumsum(-1) - prob_BMk
        prob_BMk = prob_BMk * (before_BMk < sampling.top_p)
        prob_BMk = prob_BMk / prob_BMk.sum(-1, keepdim=True)
    cumulative_BMk = prob_BMk.cumsum(-1)
    # Dividing by the last entry puts the end at exactly one, whatever rounding did on the way.
    cumulative_BMk = cumulative_BMk / cumulative_BMk[..., -1:]
    point_BM1 = uniform_BM[..., None].to(cumulative_BMk.dtype).contiguous()
    rank_BM1 = torch.searchsorted(cumulative_BMk.contiguous(), point_BM1, right=True)
    rank_BM1 = rank_BM1.clamp(max=prob_BMk.shape[-1] - 1)
    log_prob_BM = prob_BMk.gather(-1, rank_BM1)[..., 0].log()
    tokens_BM1 = rank_BM1 if index_BMk is None else index_BMk.gather(-1, rank_BM1)
    return Drawn(tokens_BM1[..., 0], log_prob_BM)
