"""Masked sets: some tokens are known, all others masked; in each step some of the masked ones become known.

Letters: B batch, N tokens, M masked tokens.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Generator

import torch
from torch import Tensor

from arlab.orderings.choices import Choice, RandomChoice
from arlab.orderings.mask_ratios import MaskRatio, TruncatedNormalRatio
from arlab.orderings.ordering import Drawn, Ordering, Prefix, Scored, condition_slots, slots
from arlab.orderings.set_sizes import CosineSizes, SetSizes
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.rng import Rng


class Masked(Ordering):
    """Known tokens and masks, all fed in every step, all seen by all; each mask predicts the token of its place.

    A mask is a learned vector, the same on all places of a level. The order in which tokens become known is drawn for
    each sample. Nothing is kept between steps, since the next one shows all slots something new. Training masks a
    drawn share of the tokens and learns these. By default all is MAR's; MaskGIT has ``mask_ratio: CosineRatio``, which
    it draws for each image, ``choice: ConfidenceChoice`` and ``set_sizes: CosineSizes`` of 8 steps.

    The likelihood is that of a random order, of which one step drawn at random gives a bound: step s, which makes n_s
    of N tokens known, with probability n_s / N, its log-probabilities summed N / n_s times. Where tokens are chosen by
    their confidence there is none.

    Autoregressive Image Generation without Vector Quantization (MAR), arXiv 2406.11838; MaskGIT: Masked Generative
    Image Transformer, arXiv 2202.04200.

    Args:
        set_sizes: how many tokens become known in each step.
        choice: which of the masked tokens.
        mask_ratio: the share of tokens masked in a training step, drawn once per batch.
    """

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})
    static = False
    exact = False

    def __init__(
        self,
        *,
        set_sizes: SetSizes | None = None,
        choice: Choice | None = None,
        mask_ratio: MaskRatio | None = None,
    ) -> None:
        self.set_sizes = CosineSizes() if set_sizes is None else set_sizes
        self.choice = RandomChoice() if choice is None else choice
        self.mask_ratio = TruncatedNormalRatio() if mask_ratio is None else mask_ratio
        self.redraws = self.chooses = self.choice.draws_all

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...]:
        return ((0,) * layout.num_axes,)

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return len(layout.shapes)

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Generator[Step, Drawn | None, None]:
        order_BN = rng.permutation(layout.num_tokens)
        for progress in self._progresses(layout):
            drawn = yield self._step(layout, prefix, order_BN, progress)
            masked_BM = order_BN[:, progress.known :]
            rank_BM = self.choice.ranks(drawn, masked_BM.shape[1], progress, rng)
            order_BN = torch.cat((order_BN[:, : progress.known], masked_BM.gather(1, rank_BM)), dim=1)

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        order_BN = rng.permutation(layout.num_tokens)
        # The same for all samples, so that rows are of one length.
        masked = self.mask_ratio.count(layout.num_tokens, float(rng.uniform()[0]))
        fed, first = self._fed(layout, prefix, order_BN, layout.num_tokens - masked, 0)
        return Step(fed, Read.own(order_BN[:, -masked:], torch.arange(first, first + masked)))

    def scored(self, layout: Layout, prefix: Prefix, rng: Rng) -> Scored | None:
        if self.choice.draws_all:
            return None
        order_BN, progresses = rng.permutation(layout.num_tokens), self._progresses(layout)
        # A step is drawn as often as it has tokens: the mean of few tokens would say little of a step of many.
        token = int(rng.uniform()[0] * layout.num_tokens)
        progress = next(each for each in progresses if token < each.drawn)
        step = self._step(layout, prefix, order_BN, progress)
        times = layout.num_tokens / (progress.drawn - progress.known)
        return Scored(Step(step.feed, step.read), times=times, exact=False)

    def _progresses(self, layout: Layout) -> list[Progress]:
        counts = self.set_sizes.counts(layout.num_tokens)
        drawn = list(itertools.accumulate(counts))
        return [
            Progress(number, len(counts), drawn[number] - count, drawn[number], layout.num_tokens)
            for number, count in enumerate(counts)
        ]

    def _step(self, layout: Layout, prefix: Prefix, order_BN: Tensor, progress: Progress) -> Step:
        """The first of the order are known; the next become so, or all others are drawn to choose among them."""
        fed, first = self._fed(layout, prefix, order_BN, progress.known, progress.step)
        stop = layout.num_tokens if self.choice.draws_all else progress.drawn
        read_BM = order_BN[:, progress.known : stop]
        return Step(fed, Read.own(read_BM, torch.arange(first, first + read_BM.shape[1])), progress)

    def _fed(self, layout: Layout, prefix: Prefix, order_BN: Tensor, known: int, step: int) -> tuple[Slots, int]:
        """Condition, known tokens and masks, and the index of the first mask."""
        first = prefix.length + known
        seen_BK, masked_BM = order_BN[:, :known], order_BN[:, known:]
        condition = condition_slots(prefix)
        nothing = torch.zeros_like(condition.keep)
        condition = dataclasses.replace(condition, step=torch.full_like(condition.step, step), keep=nothing)
        token = slots(Kind.TOKEN, seen_BK, seen_BK, step, first=prefix.length, keep=False)
        mask = slots(Kind.LEARNED, layout.level_N[masked_BM], masked_BM, step, first=first, keep=False)
        return Slots.cat([part for part in (condition, token, mask) if len(part)]), first
