"""A head between a toy backbone and the tokens of an ordering, as the laws of heads look at it.

Letters: B batch, N tokens, M tokens predicted, V codebook size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.conformance.law import Grid, fresh
from arlab.conformance.refusal import is_refusal
from arlab.conformance.toy import toy_generator
from arlab.generators.feeding import gather
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.head import Head
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_scale import NextScale
from arlab.orderings.ordering import Ordering
from arlab.orderings.raster import Raster
from arlab.orderings.step import Layout
from arlab.rng import BatchRng
from arlab.tokens import TokenSpace

_SPACES = (TokenSpace(3, 2), TokenSpace(3))
_CLASS = 1


@dataclass(frozen=True)
class HeadSubject:
    """A head that models tokens of a kind, in an order.

    Attributes:
        head: what is tested; it is never bound itself, only others like it.
        ordering: of the tokens.
        layout: where they lie.
        space: what they are.
        seed: of weights and tokens.
    """

    head: Head
    ordering: Ordering
    layout: Layout
    space: TokenSpace
    seed: int = 0

    @property
    def component(self) -> Head:
        """What is tested."""
        return self.head

    @property
    def told(self) -> str:
        """The tokens and their ordering."""
        kind = f"{self.space.codebook_size} codes" if self.space.discrete else f"vectors of {self.space.width}"
        return f"{type(self.ordering).__name__}, {kind}"

    def generator(self) -> Generator:
        """A fresh toy generator with a head like this one, none of whose weights is zero any more."""
        head = fresh(self.head)
        generator = toy_generator(self.ordering, self.layout, seed=self.seed, head=head, space=self.space)
        random = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for parameter in generator.head.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=random), alpha=0.3)
        return generator

    def tokens(self, batch: int) -> Tensor:
        """Random tokens, (B, N) or (B, N, C)."""
        random = torch.Generator().manual_seed(self.seed + 1)
        shape = (batch, self.layout.num_tokens)
        if self.space.codebook_size is not None:
            return torch.randint(self.space.codebook_size, shape, generator=random)
        return torch.randn(*shape, self.space.width, generator=random)

    def narrow(self) -> HeadSubject:
        """The same with continuous tokens of a single number."""
        return self if self.space.discrete else dataclasses.replace(self, space=TokenSpace(1))

    def order(self, generator: Generator) -> list[int]:
        """The tokens, as the teacher-forced pass reads them."""
        prefix = generator.conditioner(_labels(1)).prefix
        step = generator.ordering.teacher(generator.layout, prefix, BatchRng(0, 1), torch.device("cpu"))
        order: list[int] = step.read.token.flatten().tolist()
        return order

    def loss(self, generator: Generator, tokens: Tensor) -> Tensor:
        """The head's loss of token n at [:, n], (B, N)."""
        condition = generator.conditioner(_labels(len(tokens)))
        rng = BatchRng(self.seed, len(tokens))
        step = generator.ordering.teacher(generator.layout, condition.prefix, rng, tokens.device)
        target = gather(tokens, step.read.token)
        loss_BM = generator.head.loss(generator.teacher_predict(step, tokens, condition), step, target, rng)
        # All that is predicted is predicted once, so that sorting by token puts losses in their places.
        return loss_BM if loss_BM.dim() != 2 else loss_BM[:, step.read.token.argsort()]

    def log_prob(self, generator: Generator, tokens: Tensor) -> Tensor | None:
        """The log-probability of token n at [:, n], (B, N); None where the head has none."""
        return generator.log_prob(tokens, _labels(len(tokens)))

    def draw(self, generator: Generator, seeds: Sequence[int], sampler: Sampler | None = None) -> Tensor:
        """Tokens of one image per seed, (B, N) or (B, N, C)."""
        drawn = (Sampler() if sampler is None else sampler).sample(generator, _labels(len(seeds)), seeds=list(seeds))
        return drawn.tokens

    def place(self, token: int) -> str:
        """A token's coordinates, with its level where there are several."""
        cell = tuple(self.layout.cell_NA[token].tolist())
        level = f"level {int(self.layout.level_N[token])} " if len(self.layout.shapes) > 1 else ""
        return f"{level}{cell}"


def head_cases(head: Head, grid: Grid) -> list[HeadSubject]:
    """A head on tokens of each kind that it takes: one a step, several by ways that meet, and a level a step.

    Raises:
        ValueError: it takes none.
    """
    taken, refusal = [], None
    for ordering in (Raster(), NextNeighbor(), NextScale()):
        for space in _SPACES:
            layout = ordering.layout_of(grid)
            if isinstance(ordering, NextScale) and len(layout.shapes) == 1:
                continue
            subject = HeadSubject(head, ordering, layout, space)
            try:
                subject.generator()
            except Exception as error:
                if isinstance(error, ValueError) and is_refusal(error, type(head)):
                    refusal = refusal or error
                    continue
                # Which law it breaks by this is told when the laws are tried.
            taken.append(subject)
    if not taken and refusal is not None:
        raise refusal
    return taken


def _labels(batch: int) -> Tensor:
    return torch.full((batch,), _CLASS)
