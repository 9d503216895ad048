"""The discrete head: a softmax over the codebook.

Letters: B batch, S slots, M tokens predicted, D width, V codebook size, k top-k slice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from arlab.heads.head import Head, Hidden, Predict, Predicted, Sampling, embeds
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Kind, Read, Step
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
        chunk: how many tokens of a batch have logits at the same time in training and evaluation, at least one of
            each image; the backward pass works them out again, so that memory is paid for with time. null or 0: all.
    """

    tells_probability = True

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        bias: bool = False,
        zero_init: bool = True,
        init_std: float = 0.02,
        chunk: int | None = None,
    ) -> None:
        super().__init__()
        require("head.label_smoothing", label_smoothing, at_least=0, below=1)
        require("head.init_std", init_std, at_least=0)
        require("head.chunk", chunk or 0, at_least=0)
        self.label_smoothing = label_smoothing
        self.bias = bias
        self.zero_init = zero_init
        self.init_std = init_std
        self.chunk = chunk
        self._parts: WeakKeyDictionary[Read, dict[int, list[Read]]] = WeakKeyDictionary()

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        size = codebook_size(self, space, carries)
        if size > _MOST_CODES:
            raise ValueError(
                f"head: DiscreteHead lists a logit for every code, at most {_MOST_CODES}; this tokenizer has {size}"
            )
        self.embedding = nn.Embedding(size, width) if embeds(carries) else None
        self.outputs = nn.ModuleList(nn.Linear(width, size, bias=self.bias) for _ in range(ways))
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
        return guided_logits(predicted, list(self.outputs), guidance_scale)

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        return self._nats(predict().conditional, target, self.label_smoothing if self.training else 0.0)

    def log_prob(self, predict: Predict, step: Step, target: Tensor) -> Tensor | None:
        return -self._nats(predict().conditional, target, 0.0)

    def _nats(self, hidden: Hidden, target_BM: Tensor, smoothing: float) -> Tensor:
        """Cross-entropy (B, M), of all tokens at once or of one chunk after the other."""

        def nats(read: Read, target_Bm: Tensor, *ways: Tensor) -> Tensor:
            logits_BmV = self.logits(Predicted(dataclasses.replace(hidden, ways=ways, read=read)))
            flat = logits_BmV.flatten(0, 1), target_Bm.flatten()
            return F.cross_entropy(*flat, reduction="none", label_smoothing=smoothing).view_as(target_Bm)

        at_once = max(1, self.chunk // len(target_BM)) if self.chunk else len(hidden.read)
        if at_once >= len(hidden.read):
            return nats(hidden.read, target_BM, *hidden.ways)
        pairs = zip(self._split(hidden.read, at_once), target_BM.split(at_once, dim=1), strict=True)
        # Nothing in it is drawn at random, so there is no state of random numbers to restore.
        checkpointed = [
            checkpoint(nats, read, target_Bm, *hidden.ways, use_reentrant=False, preserve_rng_state=False)
            for read, target_Bm in pairs
        ]
        return torch.cat(checkpointed, dim=1)

    def _split(self, read: Read, at_once: int) -> list[Read]:
        """The reads of successive chunks, found again where the pass is the same."""
        kept = self._parts.setdefault(read, {})
        if at_once not in kept:
            columns = [part.split(at_once) for part in (read.slot, read.way, read.weight)]
            tokens = read.token.split(at_once, dim=-1)
            kept[at_once] = [Read(token, *each) for token, *each in zip(tokens, *columns, strict=True)]
        return kept[at_once]

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        logits_BMV = self.logits(predict(), guidance_scale)
        return draw_from_logits(logits_BMV, sampling, noise.uniform(step.read.token))


def codebook_size(head: Head, space: TokenSpace, carries: frozenset[Kind]) -> int:
    """V, for a head that draws codes.

    Raises:
        ValueError: tokens are vectors, or the ordering feeds noised ones.
    """
    name = type(head).__name__
    if Kind.NOISY in carries:
        raise ValueError(
            f"head: {name} draws codes, which cannot be noised as this ordering asks; choose FlowHead or "
            "DiffusionHead with a KLTokenizer, or an ordering without noised slots, e.g. Raster"
        )
    if space.codebook_size is None:
        raise ValueError(
            f"head: {name} needs a tokenizer with a codebook (a VQTokenizer), this one's tokens are continuous; for "
            "vectors choose FlowHead or DiffusionHead"
        )
    return space.codebook_size


def guided_logits(
    predicted: Predicted, outputs: Sequence[nn.Module], guidance_scale: float = 1.0, *beside: Tensor
) -> Tensor:
    """u + s (c - u) for what the outputs make of hidden vectors and what lies beside them, in float32 at least."""
    logits_BMV = upcast(predicted.conditional.mix(outputs, *beside))
    if predicted.unconditional is None or guidance_scale == 1.0:
        return logits_BMV
    free_BMV = upcast(predicted.unconditional.mix(outputs, *beside))
    return free_BMV + guidance_scale * (logits_BMV - free_BMV)


@dataclass(frozen=True)
class DrawnCodes(Drawn):
    """Codes that were drawn from logits, which tell all there is to tell."""

    log_prob: Tensor
    logit: Tensor


def draw_from_logits(logits_BMV: Tensor, sampling: Sampling, uniform_BM: Tensor) -> DrawnCodes:
    """Draw by inverting the cumulative distribution at one uniform number per token.

    Temperature first, then top-k, then top-p inside the top-k slice. Only the slice is ever sorted.
    """
    if sampling.temperature == 0:
        log_prob_BM, tokens_BM = logits_BMV.log_softmax(-1).max(-1)
        return DrawnCodes(tokens_BM, log_prob_BM, _of(logits_BMV, tokens_BM))
    given_BMV, logits_BMV = logits_BMV, logits_BMV / sampling.temperature
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
    tokens_BM = (rank_BM1 if index_BMk is None else index_BMk.gather(-1, rank_BM1))[..., 0]
    return DrawnCodes(tokens_BM, log_prob_BM, _of(given_BMV, tokens_BM))


def _of(logits_BMV: Tensor, tokens_BM: Tensor) -> Tensor:
    """The logit of each token, as it was given: guided, not divided by a temperature."""
    return logits_BMV.gather(-1, tokens_BM[..., None])[..., 0]
