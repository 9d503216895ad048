"""The contract of an ordering: which token is predicted when, from what, and who may see whom.

Letters: B batch, N tokens, S slots, M tokens predicted, Q query rows, K key rows, C width of a token vector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from arlab.configurable import Configurable
from arlab.orderings.step import Kind, Layout, Slots, Step
from arlab.rng import Rng

if TYPE_CHECKING:
    from arlab.pyramids.pyramid import Pyramid

T = TypeVar("T")
_MOST_KEPT = 64


@dataclass(frozen=True)
class Prefix:
    """The condition slots a conditioner offers.

    Attributes:
        length: P, how many.
        valid: (B, P) False where a slot is padding; or None.
    """

    length: int
    valid: Tensor | None = None


@dataclass(frozen=True)
class Drawn:
    """What the head drew in a step, sent back to an ordering that chooses by it.

    Attributes:
        tokens: (B, M) indices or (B, M, C) vectors.
        log_prob: (B, M) log-probability of what was drawn, in nats; or None where the head has none.
        logit: (B, M) the same before it was normalised, where it comes of logits; or None.
    """

    tokens: Tensor
    log_prob: Tensor | None = None
    logit: Tensor | None = None


@dataclass(frozen=True)
class Scored:
    """A pass that tells how likely tokens are: log p(tokens) = times · Σ of its log-probabilities.

    Attributes:
        step: the pass.
        times: how often its sum counts: 1 / probability of the pass, where it is one of several drawn at random.
        exact: whether this is log p itself; otherwise its mean over what was drawn is a lower bound.
    """

    step: Step
    times: float = 1.0
    exact: bool = True


class Visibility(Enum):
    """What an ordering promises about its rule, so that attention need not build a mask where none is needed."""

    CAUSAL = "a slot sees itself and every slot fed before it"
    BY_STEP = "a slot sees every slot of its own step and all that earlier steps kept"
    RULE = "only the rule tells"


class Maps(Protocol):
    """What a tokenizer offers to computed slots."""

    def canvases(self, tokens: Tensor, levels: Sequence[int]) -> list[Tensor]:
        """For each of these levels those below it put back on one map, (B, C, *finest)."""

    def vectors(self, tokens: Tensor) -> Tensor:
        """The vector of each token, (B, N, C)."""


class Ordering(Configurable, ABC):
    """Decides which token is predicted when, from what, and who may see whom.

    A concrete ordering yields one ``Step`` per decoding step. The teacher-forced pass is the same steps laid end to
    end, unless ``training`` says otherwise.
    """

    static: bool = True
    """Whether the steps depend on the layout alone (then they are made once and kept)."""
    carries: frozenset[Kind] = frozenset({Kind.COND, Kind.TOKEN})
    """Every kind of slot that ``steps`` or ``training`` may feed."""
    draws_layouts: bool = False
    """Whether ``draw_layout`` draws; then images are tokenised anew in every step."""
    modulated: bool = False
    """Whether later steps see no condition slots, so that only modulation can tell them the condition."""
    exact: bool = True
    """Whether the teacher-forced pass factorises p(tokens), so that its log-probabilities sum to a likelihood."""
    redraws: bool = False
    """Whether a step may draw tokens that an earlier step drew already, in place of what that step drew."""
    chooses: bool = False
    """Whether it looks at the probabilities of what was drawn, which heads then must tell."""
    tells_targets: bool = False
    """Whether only ``Slots.target`` says what a slot is asked for, so that places must read it."""

    @abstractmethod
    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Generator[Step, Drawn | None, None]:
        """The decoding steps; after each the decoding loop sends back what was drawn."""

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        """The teacher-forced pass.

        Args:
            layout: where the tokens lie.
            prefix: the condition slots.
            rng: for what is drawn.
            trained: the share of the training steps that are over, for what changes as training goes on.
        """
        return Step.cat(list(self.steps(layout, prefix, rng)))

    def scored(self, layout: Layout, prefix: Prefix, rng: Rng) -> Scored | None:
        """The pass that tells how likely tokens are; None where there is none."""
        return Scored(self.training(layout, prefix, rng), exact=self.static) if self.exact else None

    def latent_pyramid(self, layout: Layout) -> Pyramid | None:
        """Along what it splits continuous tokens that come on one level, as on this layout; None leaves them there."""
        return None

    def num_ways(self, layout: Layout) -> int:
        """How many outputs of the backbone it reads (directions)."""
        return 1

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...] | None:
        """For each way, target cell minus cell of the slot read; None where that is not constant."""
        return None

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        """Refuse a tokenizer whose tokens it cannot order.

        Args:
            layout: where its tokens lie.
            pyramid: what its levels are; None where there is one.

        Raises:
            ValueError: it cannot, and which tokenizers it can.
        """

    def choose_layout(self, layout: Layout) -> Layout:
        """The layout it orders, given the tokenizer's; another only where it asks for one."""
        return layout

    def draw_layout(self, layout: Layout, rng: Rng) -> Layout:
        """The layout of a training step, the same for the whole batch; see ``draws_layouts``."""
        return layout

    def layout_of(self, grid: tuple[int, ...]) -> Layout:
        """A layout it can order whose finest level is this grid, to check and to draw it on."""
        return Layout((grid,))

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        """How many learned vectors its slots refer to."""
        return 0

    def visibility(self, layout: Layout) -> Visibility:
        """The promise about ``see`` on this layout; tested against it."""
        return Visibility.BY_STEP

    def see(self, query: Slots, key: Slots) -> Tensor:
        """[Q, K] bool: which key rows a query row may attend to; a rule over slot columns."""
        return by_step(query, key)

    def compute(self, tokens: Tensor, source: Tensor, layout: Layout, maps: Maps) -> Tensor:
        """What COMPUTED slots carry, (B, S, C): a pure function of the tokens known before their step.

        Args:
            tokens: (B, N) or (B, N, C); those not known yet hold anything.
            source: [S] as the ordering wrote it.
            layout: where the tokens lie.
            maps: the tokenizer's.
        """
        raise TypeError(f"{type(self).__name__} feeds no computed slots")

    def plan(
        self, layout: Layout, prefix: Prefix, rng: Rng, device: torch.device
    ) -> Generator[Step, Drawn | None, None]:
        """``steps`` on a device, made once per layout where they are static."""
        if self.static and prefix.valid is None:
            kept: dict[object, tuple[Step, ...]] = self.__dict__.setdefault("_plans", {})
            if (layout, prefix.length, device) not in kept:
                steps = tuple(step.to(device) for step in self.steps(layout, prefix, rng))
                _keep(kept, (layout, prefix.length, device), steps)
            for step in kept[layout, prefix.length, device]:
                yield step
            return
        plan, drawn = self.steps(layout, prefix, rng), None
        while True:
            try:
                step = plan.send(drawn)
            except StopIteration:
                return
            drawn = yield step.to(device)

    def teacher(self, layout: Layout, prefix: Prefix, rng: Rng, device: torch.device, trained: float = 1.0) -> Step:
        """``training`` on a device, made once per layout where it is static."""
        if not self.static or prefix.valid is not None:
            return self.training(layout, prefix, rng, trained).to(device)
        kept: dict[object, Step] = self.__dict__.setdefault("_teachers", {})
        if (layout, prefix.length, device) not in kept:
            _keep(kept, (layout, prefix.length, device), self.training(layout, prefix, rng).to(device))
        return kept[layout, prefix.length, device]


def _keep(kept: dict[object, T], key: object, value: T) -> None:
    """Remember a plan, and forget the oldest where layouts are drawn without end."""
    while len(kept) >= _MOST_KEPT:
        del kept[next(iter(kept))]
    kept[key] = value


def by_step(query: Slots, key: Slots) -> Tensor:
    """A slot sees its own step and what was kept of earlier ones."""
    earlier_QK = key.step[None, :] < query.step[:, None]
    return (earlier_QK & key.keep[None, :]) | (key.step[None, :] == query.step[:, None])


def causal(query: Slots, key: Slots) -> Tensor:
    """A slot sees itself and what was fed before it (of earlier steps, what was kept)."""
    return by_step(query, key) & (
        (key.step[None, :] < query.step[:, None]) | (key.order[None, :] <= query.order[:, None])
    )


def single_grid(layout: Layout, name: str) -> tuple[int, ...]:
    """The grid of a layout that has one level.

    Args:
        layout: where the tokens lie.
        name: of the ordering that walks it.

    Raises:
        ValueError: there are several.
    """
    if len(layout.shapes) != 1:
        raise ValueError(
            f"ordering: {name} walks a single grid, the tokenizer has {layout.shapes}; for tokens on levels choose "
            "NextScale, NextFrequency or NextDepth"
        )
    return layout.shapes[0]


def condition_slots(prefix: Prefix, count: int | None = None) -> Slots:
    """The first ``count`` (default: all) condition slots, standing nowhere, in step 0."""
    number = prefix.length if count is None else count
    index = torch.arange(number)
    zero = torch.zeros_like(index)
    valid = None if prefix.valid is None else prefix.valid[:, :number]
    return Slots(zero + Kind.COND, index, zero - 1, zero, index, torch.ones_like(index, dtype=torch.bool), valid=valid)


def slots(kind: Kind, source: Tensor, at: Tensor, step: int, *, first: int = 0, keep: bool = True) -> Slots:
    """Slots of one kind fed in one step, ranked from ``first``."""
    order = torch.arange(first, first + source.shape[-1])
    kept = torch.full(order.shape, keep)
    return Slots(torch.full_like(order, kind), source, at, torch.full_like(order, step), order, kept)
