"""The coarse-to-fine head: first the group of similar codes a token belongs to, then which of them.

Letters: B batch, S slots, M tokens predicted (m of them by one way), D width, V codebook size, G groups of codes,
C code vector width, L levels.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.heads.discrete import codebook_size, draw_from_logits, guided_logits
from arlab.heads.head import CodeVectors, Head, Predict, Predicted, Sampling, embeds
from arlab.orderings.ordering import Drawn
from arlab.orderings.step import Kind, Step
from arlab.ranges import require
from arlab.rng import Noise, Rng
from arlab.tokens import TokenSpace

_FEWEST_CODES = 4
_MOST_CODES = 2**18


class CoarseToFineHead(Head):
    """p(token) = p(group | h) · p(token | group, h), where groups are k-means clusters of the code vectors.

    Two softmaxes: one over groups, W h; one over the codes of the group, W' silu(U h + e_group), of which those of
    other codes are left out. Both are mixed over ways as logits and guided as u + s (c - u). The likelihood is exact.
    Temperature, top-k and top-p apply to each of the two draws; at temperature 0 the most likely code of all is taken.

    The paper draws the groups of a whole image first, one after the other, by a backbone that is told groups only; then
    a second network draws all codes at once, each seeing the groups of all tokens. Here both are drawn in the token's
    own step, so that a code sees the codes, not only the groups, of the tokens before it, and of those after it
    neither; it costs no second network.

    The groups are part of the weights: a checkpoint brings its own.

    Improving Autoregressive Image Generation through Coarse-to-Fine Token Prediction (CTF), arXiv 2503.16194.

    Args:
        num_groups: G; null for √V, rounded up. The paper has 512 of 16384 codes.
        fine_width: of e_group and U h; null for D.
        seed: of the clustering.
        zero_init: start the first way's outputs at zero, that is from uniform distributions.
        init_std: standard deviation of other initial weights.
    """

    tells_probability = True
    group_V: Tensor

    def __init__(
        self,
        *,
        num_groups: int | None = None,
        fine_width: int | None = None,
        seed: int = 0,
        zero_init: bool = True,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        if num_groups is not None:
            require("head.num_groups", num_groups, at_least=2, at_most=_MOST_CODES)
        if fine_width is not None:
            require("head.fine_width", fine_width, at_least=1, at_most=2**16)
        require("head.seed", seed, at_least=0, at_most=2**32 - 1)
        require("head.init_std", init_std, at_least=0)
        self.num_groups = num_groups
        self.fine_width = fine_width
        self.seed = seed
        self.zero_init = zero_init
        self.init_std = init_std

    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        size = codebook_size(self, space, carries)
        if not _FEWEST_CODES <= size <= _MOST_CODES:
            other = "DiscreteHead" if size < _FEWEST_CODES else "BitwiseHead"
            raise ValueError(
                f"head: CoarseToFineHead groups codebooks of {_FEWEST_CODES} to {_MOST_CODES} codes, this tokenizer "
                f"has {size}; choose {other}"
            )
        groups = math.isqrt(size - 1) + 1 if self.num_groups is None else self.num_groups
        if groups > size:
            raise ValueError(f"head.num_groups: must be at most the {size} codes of this tokenizer, got {groups}")
        inner = width if self.fine_width is None else self.fine_width
        # Until the codebook is seen: neighbouring indices.
        self.register_buffer("group_V", torch.arange(size) * groups // size)
        self.embedding = nn.Embedding(size, width) if embeds(carries) else None
        self.coarse = nn.ModuleList(nn.Linear(width, groups) for _ in range(ways))
        self.fine = nn.ModuleList(_Fine(width, inner, groups, size) for _ in range(ways))
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=self.init_std)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        if self.zero_init:
            coarse, fine = self.coarse[0], self.fine[0]
            assert isinstance(coarse, nn.Linear)
            assert isinstance(fine, _Fine)
            nn.init.zeros_(coarse.weight)
            nn.init.zeros_(fine.output.weight)

    def see_codebook(self, vectors: CodeVectors) -> None:
        vectors_VLC = vectors(torch.arange(len(self.group_V), device=self.group_V.device))
        if vectors_VLC.is_meta:
            return
        if not torch.allclose(vectors_VLC, vectors_VLC[:, :1], rtol=1e-4, atol=1e-6):
            raise ValueError(
                "head: CoarseToFineHead groups the codes of one codebook, but the levels of this tokenizer have one "
                "each; choose share_codebook: true in its PyramidQuantizer, or DiscreteHead"
            )
        coarse = self.coarse[0]
        assert isinstance(coarse, nn.Linear)
        self.group_V.copy_(clustered(vectors_VLC[:, 0], coarse.out_features, self.seed))

    def embed(self, tokens: Tensor) -> Tensor:
        assert self.embedding is not None, "the ordering did not say that it feeds tokens"
        h_BSD: Tensor = self.embedding(tokens)
        return h_BSD

    def coarse_logits(self, predicted: Predicted, guidance_scale: float = 1.0) -> Tensor:
        """Guided logits of groups, (B, M, G), in float32 at least."""
        return guided_logits(predicted, list(self.coarse), guidance_scale)

    def fine_logits(self, predicted: Predicted, group_BM: Tensor, guidance_scale: float = 1.0) -> Tensor:
        """Guided logits of codes given their group, (B, M, V), in float32 at least; -∞ for those of other groups."""
        logits_BMV = guided_logits(predicted, list(self.fine), guidance_scale, group_BM)
        return logits_BMV.masked_fill(self.group_V != group_BM[..., None], -torch.inf)

    def loss(self, predict: Predict, step: Step, target: Tensor, rng: Rng) -> Tensor:
        predicted, group_BM = predict(), self.group_V[target]
        return _nats(self.coarse_logits(predicted), group_BM) + _nats(self.fine_logits(predicted, group_BM), target)

    def log_prob(self, predict: Predict, step: Step, target: Tensor) -> Tensor | None:
        predicted, group_BM = predict(), self.group_V[target]
        return -_nats(self.coarse_logits(predicted), group_BM) - _nats(self.fine_logits(predicted, group_BM), target)

    def draw(self, predict: Predict, step: Step, guidance_scale: float, sampling: Sampling, noise: Noise) -> Drawn:
        predicted = predict()
        coarse_BMG = self.coarse_logits(predicted, guidance_scale)
        if sampling.temperature == 0:
            return self._likeliest(predicted, coarse_BMG, guidance_scale)
        group = draw_from_logits(coarse_BMG, sampling, noise.uniform(step.read.token))
        fine_BMV = self.fine_logits(predicted, group.tokens, guidance_scale)
        code = draw_from_logits(fine_BMV, sampling, noise.uniform(step.read.token, draw=1))
        return Drawn(code.tokens, group.log_prob + code.log_prob, group.logit + code.logit)

    def _likeliest(self, predicted: Predicted, coarse_BMG: Tensor, guidance_scale: float) -> Drawn:
        """The most likely codes of all: groups are looked into while one is likelier than the best code so far."""
        log_prob_BMG, order_BMG = coarse_BMG.log_softmax(-1).sort(dim=-1, descending=True)
        best: tuple[Tensor, ...] | None = None
        for log_prob_BM, group_BM in zip(log_prob_BMG.unbind(-1), order_BMG.unbind(-1), strict=True):
            if best is not None and bool((best[1] >= log_prob_BM).all()):
                break
            fine_BMV = self.fine_logits(predicted, group_BM, guidance_scale)
            fine_BM, tokens_BM = fine_BMV.max(-1)
            coarse_BM = coarse_BMG.gather(-1, group_BM[..., None])[..., 0]
            found: tuple[Tensor, ...] = tokens_BM, log_prob_BM + fine_BM - fine_BMV.logsumexp(-1), coarse_BM + fine_BM
            if best is not None:
                better_BM = found[1] > best[1]
                found = tuple(new.where(better_BM, old) for new, old in zip(found, best, strict=True))
            best = found
        assert best is not None
        return Drawn(*best)


class _Fine(nn.Module):
    def __init__(self, width: int, inner: int, groups: int, codes: int) -> None:
        super().__init__()
        self.input = nn.Linear(width, inner)
        self.group = nn.Embedding(groups, inner)
        self.output = nn.Linear(inner, codes)

    def forward(self, h_BmD: Tensor, group_Bm: Tensor) -> Tensor:
        logits_BmV: Tensor = self.output(F.silu(self.input(h_BmD) + self.group(group_Bm)))
        return logits_BmV


def clustered(vectors_VC: Tensor, groups: int, seed: int) -> Tensor:
    """The k-means cluster of each vector, (V,) int64, the same whenever vectors and seed are; no cluster is empty."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Of fewer different vectors than clusters.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(groups, n_init=1, random_state=seed).fit_predict(vectors_VC.detach().double().cpu().numpy())
    group_V = torch.from_numpy(found).long()
    size_G = group_V.bincount(minlength=groups)
    for empty in (size_G == 0).nonzero()[:, 0].tolist():
        largest = int(size_G.argmax())
        group_V[(group_V == largest).nonzero()[-1]] = empty
        size_G[largest], size_G[empty] = size_G[largest] - 1, 1
    return group_V.to(vectors_VC.device)


def _nats(logits_BMV: Tensor, target_BM: Tensor) -> Tensor:
    return F.cross_entropy(logits_BMV.flatten(0, 1), target_BM.flatten(), reduction="none").view_as(target_BM)
