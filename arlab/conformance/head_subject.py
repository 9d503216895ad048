"""A head between a toy backbone and the tokens of an ordering, as the laws of heads look at it.

Letters: B batch, N tokens, M tokens predicted, V codebook size.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.configurable import from_spec
from arlab.conformance.law import Grid
from arlab.conformance.refusal import is_refusal
from arlab.conformance.toy import toy_generator
from arlab.generators.feeding import gather
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.head import Head
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_scale import NextScale
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Ordering
from arlab.orderings.raster import Raster
from arlab.orderings.step import Layout
from arlab.rng import BatchRng, SampleRng
from arlab.tokens import TokenSpace

_SPACES = ((TokenSpace(3, 2), TokenSpace(2, 4)), (TokenSpace(3),))
"""Of each kind the first that a head takes: few codes, else as many as there are of two bits; vectors."""
_FEW = 2
"""Cells along an axis for vectors, since heads that draw them may look many times."""
_STEPS = 4
"""In which a head draws at most: laws that hold for steps of a kind do so for few."""
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
        head = _in_few_steps(self.head)
        generator = toy_generator(self.ordering, self.layout, seed=self.seed, head=head, space=self.space)
        random = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            for parameter in generator.head.parameters():
                # Less where many are added up, so that what comes out is as large for wide networks.
                size = min(0.3, 1.5 / parameter.shape[-1] ** 0.5) if parameter.dim() > 1 else 0.3
                parameter.add_(torch.randn(parameter.shape, generator=random), alpha=size)
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

    def bound(self, generator: Generator, tokens: Tensor, seeds: Sequence[int]) -> Tensor | None:
        """The head's bound on the log-probabilities of a pass, (B, M), with randomness of each image its own."""
        condition, rng = generator.conditioner(_labels(len(tokens))), SampleRng(list(seeds))
        scored = generator.ordering.scored(generator.layout, condition.prefix, rng)
        if scored is None:
            return None
        predict = generator.teacher_predict(scored.step, tokens, condition)
        return generator.head.bound(predict, scored.step, gather(tokens, scored.step.read.token), rng)

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
    """A head on tokens of each kind that it takes: one a step, several by ways that meet, a level a step, out of noise.

    Raises:
        ValueError: it takes none.
    """
    taken: list[HeadSubject] = []
    refusal: ValueError | None = None
    for ordering, spaces in itertools.product((Raster(), NextNeighbor(), NextScale(), NextX()), _SPACES):
        layout = ordering.layout_of(grid if spaces[0].discrete else tuple(min(side, _FEW) for side in grid))
        if isinstance(ordering, NextScale) and len(layout.shapes) == 1:
            continue
        for space in spaces:
            subject = HeadSubject(head, ordering, layout, space)
            try:
                subject.generator()
            except Exception as error:
                if isinstance(error, ValueError) and is_refusal(error, type(head)):
                    refusal = refusal or error
                    continue
                # Which law it breaks by this is told when the laws are tried.
            taken.append(subject)
            break
    if not taken and refusal is not None:
        raise refusal
    return taken


def _labels(batch: int) -> Tensor:
    return torch.full((batch,), _CLASS)


def _in_few_steps(head: Head) -> Head:
    """Another like it, but with few ``num_steps`` wherever it has more."""

    def few(value: object, name: str = "") -> object:
        if isinstance(value, Mapping):
            return {key: few(each, key) for key, each in value.items()}
        return min(value, _STEPS) if name == "num_steps" and isinstance(value, int) else value

    lowered = few(head.spec())
    assert isinstance(lowered, dict)
    return from_spec(lowered, type(head))
