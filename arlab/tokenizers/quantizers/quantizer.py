"""The contracts of quantizers: latent maps to tokens, and of codebooks: vectors to indices.

Letters: B batch, C vector width, S the latent's sides (h, w or one), N tokens, L levels, V codebook size, T vectors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from arlab.configurable import Configurable
from arlab.orderings.step import Layout
from arlab.precision import in_float32, upcast
from arlab.pyramids.pyramid import Pyramid
from arlab.tokenizers.quantizers.batches import occurrences

COUNTED = 2**22
"""Codes are counted one by one while levels · codes are at most this many; what is larger is bits, mostly unused."""


@dataclass(frozen=True)
class Quantized:
    """What quantising a latent map gives.

    Attributes:
        vectors: (B, C, *S) what the decoder gets; gradients pass through to the latents. In training S may be
            any grid of the quantizer's ``decoded``.
        tokens: (B, N) int64 indices, or (B, N, C) vectors where tokens are continuous.
        loss: scalar added to the training loss.
        figures: scalars worth logging, by name: codes revived, entropies, nats.
        deviation: (B, N, C) standard deviation of continuous tokens around ``tokens``; None where they have none.
    """

    vectors: Tensor
    tokens: Tensor
    loss: Tensor
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    deviation: Tensor | None = None


class Quantizer(nn.Module, Configurable, ABC):
    """Maps a latent map to tokens and back; configured first, bound to the latent later.

    Under autocast it computes in float32 (``arlab.precision.in_float32``): near-equal distances must not decide anew.
    """

    codebook_size: int | None
    """V; None for continuous tokens. Known once bound."""
    layout: Layout
    """Where the tokens of a latent lie; known once bound."""
    pyramid: Pyramid | None = None
    """What its levels are; None where there is one."""

    @property
    def token_scale(self) -> float:
        """What latents are multiplied with to become continuous tokens."""
        return 1.0

    @property
    def own_codebooks(self) -> bool:
        """Whether each level has a codebook of its own, so that equal indices of two levels are different codes."""
        return False

    @property
    def counted(self) -> bool:
        """Whether its codes are few enough to be counted one by one; known once bound."""
        return self.codebook_size is not None and self.codebook_size * len(self.layout.shapes) <= COUNTED

    def encoder_width(self, width: int) -> int:
        """The channels the encoder must give for tokens of ``width``: as many, unless it says otherwise."""
        return width

    @abstractmethod
    def bind(self, width: int, shape: tuple[int, ...]) -> None:
        """Create what depends on the latent: vectors of ``width`` on a grid of ``shape``.

        Raises:
            ValueError: it cannot quantise such a latent.
        """

    @abstractmethod
    def forward(self, z: Tensor) -> Quantized:
        """Quantise a latent map (B, encoder_width, *S)."""

    @abstractmethod
    def vectors(self, tokens: Tensor) -> Tensor:
        """The vector of each token, (B, N, C)."""

    def assemble(self, vectors_BNC: Tensor, level: int | None = None) -> Tensor:
        """The vectors of the levels below ``level`` (None: of all) put back on one map (B, C, *S)."""
        z: Tensor = vectors_BNC.transpose(1, 2).unflatten(-1, self.layout.finest)
        return z

    def canvases(self, vectors_BNC: Tensor, levels: Sequence[int]) -> list[Tensor]:
        """For each of these levels those below it put back on one map (B, C, *S)."""
        return [self.assemble(vectors_BNC, level) for level in levels]

    def at(self, layout: Layout) -> Quantizer:
        """A quantizer of the same weights whose tokens lie on another layout.

        Raises:
            ValueError: its levels are what they are.
        """
        raise ValueError(
            f"tokenizer: its tokens lie on {self.layout}, not on {layout}; other levels take a "
            "PyramidQuantizer with ScalePyramid and residual: false"
        )

    @property
    def decoded(self) -> tuple[tuple[int, ...], ...]:
        """The grids on which the decoder gets its vectors in training; known once bound."""
        return (self.layout.finest,)

    def shown(self, vectors_BNC: Tensor, level: int) -> Tensor:
        """The levels below ``level`` as the decoder knows them best, on a grid of ``decoded``."""
        return self.assemble(vectors_BNC, level)


@dataclass(frozen=True)
class Coded:
    """What a codebook makes of vectors.

    Attributes:
        ids: (T,) int64.
        vectors: (T, C) the code vectors as the decoder gets them; gradients pass through to what was quantised.
        code: (T, C) the code vectors as such; gradients go to what the codebook itself learns, if it learns by any.
        loss: scalar, the whole of the codebook's loss.
        regularizer: scalar, the part of ``loss`` that does not draw latents and codes together (entropies).
        figures: scalars worth logging, by name.
    """

    ids: Tensor
    vectors: Tensor
    code: Tensor
    loss: Tensor
    regularizer: Tensor
    figures: Mapping[str, Tensor] = field(default_factory=dict)


class Codebook(Quantizer, ABC):
    """A quantizer of single vectors: every cell of the latent map becomes one code, row by row."""

    codebook_size: int
    any_size: bool = True
    """Whether it can express vectors of any size, as what the first levels of a residual pyramid leave over is."""

    def bind(self, width: int, shape: tuple[int, ...]) -> None:
        self.layout = Layout((shape,))
        self.create(width)

    @abstractmethod
    def create(self, width: int) -> None:
        """Create the codes, of ``width``.

        Raises:
            ValueError: they cannot have this width.
        """

    @abstractmethod
    def quantise(self, z_TC: Tensor) -> Coded:
        """Choose a code for each vector; changes no state."""

    @abstractmethod
    def lookup(self, ids: Tensor) -> Tensor:
        """The code vectors of indices of any shape, (..., C)."""

    @property
    def waits(self) -> bool:
        """Whether it wants vectors of the next training batch before it quantises it: ``start``."""
        return False

    def start(self, z_TC: Tensor) -> None:
        """Called before ``quantise`` in training where it waits, with vectors of the batch."""

    def update(self, z_TC: Tensor, ids_T: Tensor) -> Mapping[str, Tensor]:
        """Called once after each training batch with all it quantised: what is not learned by gradient is here.

        Returns figures worth logging.
        """
        return {}

    @in_float32
    def forward(self, z: Tensor) -> Quantized:
        z_TC = upcast(z).movedim(1, -1).flatten(0, -2)
        if self.training and self.waits:
            self.start(z_TC.detach())
        coded = self.quantise(z_TC)
        figures = {**coded.figures}
        if self.training:
            figures |= self.update(z_TC.detach(), coded.ids)
        vectors = coded.vectors.to(z.dtype).unflatten(0, (z.shape[0], *z.shape[2:])).movedim(-1, 1)
        return Quantized(vectors, coded.ids.reshape(z.shape[0], -1), coded.loss, figures)

    def vectors(self, tokens: Tensor) -> Tensor:
        return self.lookup(tokens)


class CodeCounts(Metric):
    """How often each code was hit on each level over a whole evaluation, summed over processes.

    Args:
        layout: where the tokens lie.
        codebook_size: V.
    """

    counts: Tensor

    def __init__(self, layout: Layout, codebook_size: int) -> None:
        super().__init__()
        self.layout = layout
        self.codebook_size = codebook_size
        shape = (len(layout.shapes), codebook_size)
        self.add_state("counts", default=torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, tokens_BN: Tensor) -> None:
        """Count the codes of images."""
        self.counts += count_codes(tokens_BN, self.layout, self.codebook_size)

    def compute(self) -> Tensor:
        """(L, V) int64."""
        return self.counts


def count_codes(tokens_BN: Tensor, layout: Layout, codebook_size: int) -> Tensor:
    """How often each code occurs on each level, (L, V) int64."""
    levels = range(len(layout.shapes))
    return torch.stack([occurrences(tokens_BN[:, layout.tokens(level)], codebook_size) for level in levels])


def whole(counts_LV: Tensor, own_codebooks: bool) -> Tensor:
    """Counts of all the codes there are: (V,), or (L · V,) where each level has a codebook of its own."""
    return counts_LV.flatten() if own_codebooks else counts_LV.sum(0)


def usage(counts: Tensor) -> Tensor:
    """The share of codes hit at least once, in [0, 1]; of counts (..., V)."""
    return (counts > 0).float().mean(-1)


def perplexity(counts: Tensor) -> Tensor:
    """exp(-Σ p ln p) for p = counts / Σ counts: V if all codes are equally frequent, 1 if only one occurs."""
    p = counts.float() / counts.sum(-1, keepdim=True).clamp(min=1)
    nats: Tensor = torch.special.entr(p).sum(-1)
    return nats.exp()
