"""Small generators of every pair that works, cheap to draw from, with images that become tokens of each kind.

Letters: B batch, H and W image sides, N tokens, C token vector width, V codebook size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from arlab.conformance.families import by_default, discovered
from arlab.conformance.pairs import KINDS, Tried, matrix, pair_of, tokenizer_of
from arlab.conformance.toy import ToyTokenizer
from arlab.data.data import Batch
from arlab.generators.generator import Generator
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.flow import FlowHead
from arlab.heads.head import Head
from arlab.heads.time_grids import EvenTimes
from arlab.heads.token_mlp import TokenMLP
from arlab.optimization import AdamW
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Kind, Layout
from arlab.pyramids.pyramid import Pyramid
from arlab.tokenizers.tokenizer import Tokenizer

GRID = (2, 3)
STEPS = 3
"""Of heads that take noise away, in place of their default."""


class TinyTokens(ToyTokenizer):
    """Gray images of 4 x 4, averaged on the grid of each level: V values of equal width, or vectors of three waves.

    Args:
        kind: the name of a ``TokenKind``.
    """

    def __init__(self, *, kind: str) -> None:
        (self.kind,) = (each for each in KINDS if each.name == kind)
        toy = tokenizer_of(self.kind, GRID)
        super().__init__(toy.layout, toy.space.width, toy.space.codebook_size)
        self.levels = toy.pyramid

    @property
    def pyramid(self) -> Pyramid | None:
        return self.levels

    def at(self, layout: Layout) -> Tokenizer:
        return self if layout == self.layout else super().at(layout)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        values = [F.adaptive_avg_pool2d(image_BCHW, shape).flatten(1) for shape in self.layout.shapes]
        value_BN = torch.cat(values, 1)
        if self.space.codebook_size is None:
            return (value_BN[..., None] * torch.tensor([1.0, 5.0, 9.0])).sin()
        return ((value_BN + 1) / 2 * self.space.codebook_size).long().clamp(0, self.space.codebook_size - 1)


def orderings() -> list[type[Ordering]]:
    """All there are, by name."""
    return [cls for cls in discovered(Ordering) if issubclass(cls, Ordering)]


def heads() -> list[type[Head]]:
    """All there are, by name."""
    return [cls for cls in discovered(Head) if issubclass(cls, Head)]


ALL = matrix(orderings(), heads())
WORKING = [cell for cell in ALL if cell.works]


def tiny_pair(cell: Tried, *, seed: int = 0, width: int = 8, learning_rate: float = 1e-2) -> Generator:
    """The pair with its default options, but few steps of the head, and an average of its weights."""
    torch.manual_seed(seed)
    ordering = by_default(cell.ordering)
    assert isinstance(ordering, Ordering)
    return pair_of(
        ordering,
        _cheap(cell.head, ordering),
        TinyTokens(kind=cell.kind.name),
        width=width,
        optimizer=AdamW(learning_rate=learning_rate, warmup_steps=0),
        ema_decay=0.9,
    )


def _cheap(head: type[Head], ordering: Ordering) -> Head:
    # The backbone is the denoiser where noised slots are fed.
    network = None if Kind.NOISY in ordering.carries else TokenMLP(width=16, num_blocks=1)
    if head is FlowHead:
        return FlowHead(denoiser=network, times=EvenTimes(num_steps=STEPS))
    if head is DiffusionHead:
        return DiffusionHead(denoiser=network, num_steps=STEPS)
    component = by_default(head)
    assert isinstance(component, Head)
    return component


def batch(number: int = 2) -> Batch:
    """Random images, a class each; always the same."""
    image_BCHW = torch.rand(number, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    index_B = torch.arange(number)
    return Batch(image_BCHW, index_B % 3, index_B)


def named(cell: Tried) -> str:
    """Of a test."""
    return f"{cell.ordering.__name__}-{cell.head.__name__}-{cell.kind.name}"


def first(ordering: type[Ordering], head: type[Head]) -> Tried | None:
    """The first kind of tokens that a pair works with."""
    return next((cell for cell in WORKING if (cell.ordering, cell.head) == (ordering, head)), None)
