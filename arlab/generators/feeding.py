"""What slots carry: from kinds and sources to input vectors, and who sees whom in a pass.

Letters: B batch, N tokens, S slots fed, K rows kept and fed, D width, C width of a token vector.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arlab.backbones.attention import Mask
from arlab.generators.conditioners import Condition
from arlab.generators.frozen import FrozenTokenizer
from arlab.heads.head import Head, embeds
from arlab.orderings.ordering import Ordering, Prefix, Visibility
from arlab.orderings.step import Kind, Layout, Slots


@dataclass(frozen=True)
class Known:
    """The tokens a pass may look at.

    Attributes:
        tokens: (B, N) indices or (B, N, C) vectors; what is not known yet may hold anything.
        noisy: (B, N, C) the same with the tokens in progress noised; or None.
        time: (B, N) noise level of each token, 0 = clean; or None.
    """

    tokens: Tensor
    noisy: Tensor | None = None
    time: Tensor | None = None

    @staticmethod
    def with_noise(tokens: Tensor, read: Tensor, noisy: Tensor, time: Tensor) -> Known:
        """All tokens clean but those of ``read`` ([B,] M), which are noised (B, M, C), each to its time (B, M)."""
        clean_BN = time.new_zeros(tokens.shape[:2])
        return Known(tokens, scatter(tokens.to(noisy.dtype), read, noisy), scatter(clean_BN, read, time))

    def samples(self, index: Tensor) -> Known:
        """The same for the samples at ``index``."""
        noisy = None if self.noisy is None else self.noisy[index]
        return Known(self.tokens[index], noisy, None if self.time is None else self.time[index])


class SlotEmbedding(nn.Module):
    """Input vectors of slots: condition, token embedding, learned vector, projected canvas, or noised token.

    Args:
        width: D.
        ordering: says which kinds occur and how many learned vectors there are.
        layout: where the tokens lie.
        num_condition: P.
        token_width: C.
        init_std: standard deviation of initial weights.
    """

    no_weight_decay = True

    def __init__(
        self,
        *,
        width: int,
        ordering: Ordering,
        layout: Layout,
        num_condition: int,
        token_width: int,
        init_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.width = width
        num_learned = ordering.num_learned(layout, Prefix(num_condition))
        self.learned_RD = nn.Parameter(torch.randn(num_learned, width) * init_std) if num_learned else None
        self.computed = nn.Linear(token_width, width) if Kind.COMPUTED in ordering.carries else None

    def forward(
        self,
        slots: Slots,
        known: Known,
        condition: Condition,
        ordering: Ordering,
        head: Head,
        tokenizer: FrozenTokenizer,
    ) -> tuple[Tensor, Tensor]:
        """Input vectors (B, S, D) and the condition that modulates, (B, 1, D) or per slot (B, S, D)."""
        kinds, inverse = slots.by_kind
        batch = condition.vector.shape[0]
        parts = []
        for kind, index in kinds:
            source = slots.source[..., index]
            if kind is Kind.COND:
                part_BSD = gather(condition.slots, source)
            elif kind is Kind.TOKEN:
                part_BSD = head.embed(gather(known.tokens, source))
            elif kind is Kind.LEARNED:
                assert self.learned_RD is not None, "the ordering did not say that it feeds learned slots"
                part_BSD = self.learned_RD[source].expand(batch, -1, -1)
            elif kind is Kind.COMPUTED:
                assert self.computed is not None, "the ordering did not say that it feeds computed slots"
                canvas_BSC = ordering.compute(known.tokens, source, tokenizer.layout, tokenizer)
                part_BSD = self.computed(canvas_BSC.to(self.computed.weight.dtype))
            else:
                assert known.noisy is not None, "noised slots need a head that gives noise"
                part_BSD = head.embed(gather(known.noisy, source))
            parts.append(part_BSD)
        h_BSD = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        h_BSD = h_BSD if inverse is None else h_BSD[:, inverse]
        if self.training and embeds(ordering.carries) and not embeds(frozenset(kind for kind, _ in kinds)):
            # Processes that share gradients wait for those of every weight, also where all tokens are masked.
            h_BSD = h_BSD + 0 * head.embed(known.tokens[:, :1]).sum()
        vector_BSD = condition.vector[:, None]
        if Kind.NOISY in ordering.carries:
            vector_BSD = vector_BSD + head.embed_time(_time_of(slots, known, batch))
        return h_BSD, vector_BSD

    def extra_repr(self) -> str:
        return f"learned={0 if self.learned_RD is None else len(self.learned_RD)}"


def _time_of(slots: Slots, known: Known, batch: int) -> Tensor:
    """The time of each slot, (B, S): its noise level where it is noised, else t = 0."""
    if known.time is None:
        return torch.zeros(batch, len(slots), device=slots.kind.device)
    level_BS = gather(known.time, slots.source.clamp(min=0, max=known.time.shape[1] - 1))
    return level_BS * (slots.kind == Kind.NOISY)


def gather(values: Tensor, index: Tensor) -> Tensor:
    """values (B, N, ...) at index [S] or (B, S): (B, S, ...)."""
    if index.dim() == 1:
        return values[:, index]
    expanded = index.reshape(*index.shape, *(1,) * (values.dim() - 2)).expand(*index.shape, *values.shape[2:])
    return values.gather(1, expanded)


def scatter(values: Tensor, index: Tensor, new: Tensor) -> Tensor:
    """A copy of values (B, N, ...) with (B, S, ...) written at index [S] or (B, S)."""
    index_BS = index.expand(values.shape[0], -1)
    expanded = index_BS.reshape(*index_BS.shape, *(1,) * (values.dim() - 2)).expand_as(new)
    return values.scatter(1, expanded, new)


def mask_for(ordering: Ordering, layout: Layout, fed: Slots, kept: Slots | None) -> Mask:
    """Who sees whom when these rows are fed behind those kept; no table where the ordering promises it needless."""
    promise = ordering.visibility(layout)
    padded = fed.valid is not None or (kept is not None and kept.valid is not None)
    if not padded and promise is Visibility.CAUSAL:
        # Rows that do not stay are hidden from later steps, which plain causality does not know.
        if kept is None and (fed.staying is None or fed.one_step):
            return Mask(causal=len(fed) > 1)
        if len(fed) == 1:
            return Mask()
    if not padded and promise is Visibility.BY_STEP and fed.one_step:
        return Mask()
    keys = fed if kept is None else Slots.cat([kept, fed])
    allowed = ordering.see(fed, keys)
    if keys.valid is not None:
        itself = torch.zeros_like(allowed)
        itself[:, -len(fed) :].fill_diagonal_(True)
        # A padded row sees itself, so that its softmax is over something.
        allowed = ((allowed & keys.valid[:, None]) | itself)[:, None]
    return Mask(allowed)
