"""What an ordering plans on a grid, read off its steps, ready to be drawn.

Letters: N tokens, S slots of the training pass.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.orderings.ordering import Drawn, Ordering, Prefix
from arlab.orderings.step import Kind, Layout, Slots, Step
from arlab.rng import SampleRng

MOST_TOKENS = 4096
_CONDITION = Prefix(1)
_SEED = 0
KINDS = {
    Kind.COND: "condition",
    Kind.TOKEN: "known token",
    Kind.LEARNED: "learned (mask, query)",
    Kind.COMPUTED: "canvas of the levels so far",
    Kind.NOISY: "noised token",
}


@dataclass(frozen=True)
class Fed:
    """A slot that a step feeds.

    Attributes:
        kind: what it carries.
        at: the token on whose place it stands, -1 = nowhere.
    """

    kind: Kind
    at: int


@dataclass(frozen=True)
class Prediction:
    """A token and one of the slots that predict it.

    Attributes:
        token: which.
        slot: by which slot.
        way: by which of the backbone's outputs.
    """

    token: int
    slot: Fed
    way: int


@dataclass(frozen=True)
class Frame:
    """A decoding step.

    Attributes:
        fed: its slots.
        predictions: what is read off them.
    """

    fed: tuple[Fed, ...]
    predictions: tuple[Prediction, ...]

    @property
    def tokens(self) -> list[int]:
        """The tokens that it predicts."""
        return list(dict.fromkeys(prediction.token for prediction in self.predictions))


@dataclass(frozen=True, eq=False)
class Plan:
    """An ordering on a grid, with one condition slot; where it draws, one drawing.

    Attributes:
        name: of the ordering.
        grid: that was asked for.
        layout: what the ordering makes of it.
        frames: the decoding steps.
        rows: the slots of the training pass.
        sees_SS: which key row (second) a query row (first) sees there.
        promise: what the ordering says of that in words.
        directions: of each way, in cells along each axis; None where they are not constant.
    """

    name: str
    grid: tuple[int, ...]
    layout: Layout
    frames: tuple[Frame, ...]
    rows: Slots
    sees_SS: Tensor
    promise: str
    directions: tuple[tuple[int, ...], ...] | None

    @property
    def step_N(self) -> list[int]:
        """The step in which each token is predicted, -1 = never."""
        found = [-1] * self.layout.num_tokens
        for number, frame in enumerate(self.frames):
            for token in frame.tokens:
                found[token] = number
        return found

    @property
    def last(self) -> int:
        """The highest number of a step, in decoding or in the training pass."""
        return max(len(self.frames) - 1, int(self.rows.step.max()))

    def number(self, step: int) -> str:
        """A step's number, as wide as the highest."""
        return f"{step:{len(str(len(self.frames) - 1))}}"

    @property
    def headline(self) -> str:
        """Ordering, grid and number of steps."""
        count, steps = self.layout.num_tokens, len(self.frames)
        plural = "" if steps == 1 else "s"
        return f"{self.name} on {in_words(self.grid)}: {count} tokens in {steps} step{plural}"

    @property
    def facts(self) -> list[str]:
        """Lines on levels, tokens per step, ways and visibility."""
        shapes = self.layout.shapes
        counts = [len(frame.tokens) for frame in self.frames]
        each = f"{counts[0]} each" if len(set(counts)) == 1 else " ".join(map(str, counts))
        ways = self.directions or ()
        towards = f", towards {' '.join(map(str, ways))}" if any(any(way) for way in ways) else ""
        levels = [f"levels: {', '.join(map(in_words, shapes))}"] if len(shapes) > 1 else []
        return [
            *levels,
            f"tokens per step: {each if len(each) <= 100 else f'{min(counts)} to {max(counts)}'}",
            f"ways: {self.ways}{towards}",
            f"visibility: {self.promise}",
        ]

    def from_another_frame(self, prediction: Prediction) -> bool:
        """Whether its slot stands on the token's place, but in another frame."""
        token, at = prediction.token, prediction.slot.at
        if self.layout.num_axes < 3 or at in (-1, token):
            return False
        moved = self.layout.cell_NA[token] != self.layout.cell_NA[at]
        return bool(self.layout.level_N[token] == self.layout.level_N[at]) and not bool(moved[-2:].any())

    @property
    def ways(self) -> int:
        """How many are read."""
        return 1 + max((p.way for frame in self.frames for p in frame.predictions), default=0)


def in_words(grid: tuple[int, ...]) -> str:
    """8 x 6 for (8, 6)."""
    return " x ".join(map(str, grid))


def read_plan(ordering: Ordering, grid: tuple[int, ...]) -> Plan:
    """Everything an ordering plans on a grid.

    Args:
        ordering: any.
        grid: (N,), (H, W) or (T, H, W), the finest where there are levels.

    Raises:
        ValueError: the ordering refuses the grid, there are more than 4,096 tokens, or its steps name tokens or slots
            that are not there.
    """
    _refuse_many(math.prod(grid), grid)
    layout = ordering.choose_layout(ordering.layout_of(grid))
    _refuse_many(layout.num_tokens, grid)
    # The steps first: where they have no end, the training pass, which is made of them, has none either.
    frames = tuple(_frame(step, layout.num_tokens) for step in _decoded(ordering, layout))
    rows = _one(ordering.training(layout, _CONDITION, SampleRng([_SEED])).feed)
    return Plan(
        name=type(ordering).__name__,
        grid=grid,
        layout=layout,
        frames=frames,
        rows=rows,
        sees_SS=ordering.see(rows, rows),
        promise=ordering.visibility(layout).value,
        directions=ordering.directions(layout),
    )


def _refuse_many(count: int, grid: tuple[int, ...]) -> None:
    if count > MOST_TOKENS:
        raise ValueError(f"grid: a plan of at most {MOST_TOKENS} tokens can be drawn, {in_words(grid)} gives {count}")


def _decoded(ordering: Ordering, layout: Layout) -> Iterator[Step]:
    """The decoding steps; to an ordering that chooses by what was drawn, anything is sent back."""
    steps, chance = ordering.steps(layout, _CONDITION, SampleRng([_SEED])), SampleRng([_SEED + 1])
    drawn: Drawn | None = None
    for _ in range(2 * layout.num_tokens):
        try:
            step = steps.send(drawn)
        except StopIteration:
            return
        yield step
        count = len(step.read)
        drawn = Drawn(torch.zeros(1, count, dtype=torch.long), chance.uniform(count).clamp_min(1e-6).log())
    steps.close()
    raise ValueError(f"ordering: {type(ordering).__name__} makes more than twice as many steps as there are tokens")


def _frame(step: Step, num_tokens: int) -> Frame:
    slots = _one(step.feed)
    tokens = _sample(step.read.token).tolist()
    pairs = zip(step.read.slot.tolist(), step.read.way.tolist(), step.read.weight.tolist(), strict=True)
    at, read = slots.at.tolist(), step.read.slot
    named = [*tokens, *(place for place in at if place != -1)]
    inside = all(0 <= token < num_tokens for token in named)
    if not inside or (read.numel() and not 0 <= int(read.min()) <= int(read.max()) < len(slots)):
        raise ValueError(f"ordering: a step names tokens or slots that are not among {num_tokens} and {len(slots)}")
    fed = tuple(Fed(Kind(kind), place) for kind, place in zip(slots.kind.tolist(), at, strict=True))
    predictions = tuple(
        Prediction(token, fed[slot], way)
        for token, columns in zip(tokens, pairs, strict=True)
        for slot, way, weight in zip(*columns, strict=True)
        if weight > 0
    )
    return Frame(fed, predictions)


def _one(slots: Slots) -> Slots:
    """The rows of the first sample."""
    target = None if slots.target is None else _sample(slots.target)
    return dataclasses.replace(slots, source=_sample(slots.source), at=_sample(slots.at), target=target, valid=None)


def _sample(column: Tensor) -> Tensor:
    return column[0] if column.dim() == 2 else column
