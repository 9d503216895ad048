"""The one data structure between tokenizer, ordering, backbone and head: which slots are fed, and what they predict.

Letters: B batch, N tokens of an image, A axes, S slots fed, M tokens predicted, K reads per predicted token.
A trailing [B,] means: may carry a batch dimension (random and semantic orders differ per sample), or not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import torch
from torch import Tensor


class Kind(IntEnum):
    """What a slot carries."""

    COND = 0
    """A condition vector (class label, text)."""
    TOKEN = 1
    """The embedding of a known token."""
    LEARNED = 2
    """A learned vector: mask, query, position instruction."""
    COMPUTED = 3
    """A pure function of known tokens: the canvas of the levels so far."""
    NOISY = 4
    """A noised token, with its noise level; a clean copy of a token is a TOKEN."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of an image lie: one small grid per level. Not part of any weight.

    Attributes:
        shapes: one grid per level, each (N,), (H, W) or (T, H, W); all of the same number of axes.
    """

    shapes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if not self.shapes or len({len(shape) for shape in self.shapes}) != 1:
            raise ValueError(f"shapes: expected one grid per level, all with the same axes, got {self.shapes}")
        if any(side < 1 for shape in self.shapes for side in shape):
            raise ValueError(f"shapes: every side must be at least 1, got {self.shapes}")

    def __str__(self) -> str:
        return ", ".join("x".join(map(str, shape)) for shape in self.shapes)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Tokens per level."""
        return tuple(int(torch.Size(shape).numel()) for shape in self.shapes)

    @cached_property
    def first(self) -> tuple[int, ...]:
        """Index of each level's first token."""
        return tuple(sum(self.sizes[:level]) for level in range(len(self.sizes)))

    @property
    def num_tokens(self) -> int:
        """N."""
        return sum(self.sizes)

    @property
    def num_axes(self) -> int:
        """A: 1 for (N,), 2 for (H, W), 3 for (T, H, W)."""
        return len(self.shapes[0])

    @property
    def finest(self) -> tuple[int, ...]:
        """The largest side along each axis; places are given in its units."""
        return tuple(max(sides) for sides in zip(*self.shapes, strict=True))

    @cached_property
    def level_N(self) -> Tensor:
        """The level of each token."""
        return torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))

    @cached_property
    def cell_NA(self) -> Tensor:
        """Integer coordinates of each token on its own level's grid."""
        grids = [torch.cartesian_prod(*map(torch.arange, s)).reshape(-1, self.num_axes) for s in self.shapes]
        return torch.cat(grids)

    @cached_property
    def place_NA(self) -> Tensor:
        """Coordinates of each token in units of the finest level: cell · finest / side, float32."""
        sides = torch.tensor(self.shapes, dtype=torch.float32)[self.level_N]
        return self.cell_NA * torch.tensor(self.finest, dtype=torch.float32) / sides

    def tokens(self, level: int) -> slice:
        """The range of a level's tokens."""
        return slice(self.first[level], self.first[level] + self.sizes[level])


@dataclass(frozen=True, eq=False)
class Slots:
    """What is fed: one column per property, one row per slot.

    Attributes:
        kind: [S] a ``Kind``.
        source: [B,] S: which token, learned vector or condition vector.
        at: [B,] S: the token on whose place the slot stands, -1 = nowhere.
        step: [S] when it is fed.
        order: [S] rank inside the step.
        keep: [S] whether it stays in the cache; what does not stay is seen in its own step only.
        target: [B,] S: the token it is about to predict where that must be told, -1 = none; or None.
        valid: (B, S) False where a slot is padding; or None.
    """

    kind: Tensor
    source: Tensor
    at: Tensor
    step: Tensor
    order: Tensor
    keep: Tensor
    target: Tensor | None = None
    valid: Tensor | None = None

    def __len__(self) -> int:
        return int(self.kind.shape[0])

    @cached_property
    def by_kind(self) -> tuple[list[tuple[Kind, Tensor]], Tensor | None]:
        """The rows of each kind present, and the gather that restores row order; None where kinds lie in order."""
        kinds = [(Kind(kind), (self.kind == kind).nonzero()[:, 0]) for kind in sorted(set(self.kind.tolist()))]
        inverse = torch.cat([index for _, index in kinds]).argsort()
        in_order = bool((inverse == torch.arange(len(inverse), device=inverse.device)).all())
        return kinds, None if in_order else inverse

    @cached_property
    def one_step(self) -> bool:
        """Whether all rows belong to the same step."""
        return bool((self.step == self.step[0]).all())

    @cached_property
    def staying(self) -> Tensor | None:
        """Indices of the rows that stay in the cache; None where all do."""
        return None if bool(self.keep.all()) else self.keep.nonzero()[:, 0]

    def select(self, index: Tensor) -> Slots:
        """The rows at ``index`` (indices or a boolean row mask)."""
        return self._map(lambda column: column[..., index])

    def samples(self, index: Tensor) -> Slots:
        """The rows of the samples at ``index``, where they differ per sample."""
        if self.batch is None:
            return self
        return self._map(lambda column: column[index] if column.dim() == 2 else column)

    def to(self, device: torch.device) -> Slots:
        """The same rows on another device, with what is known of them."""
        there = self._map(lambda column: column.to(device))
        if len(self):
            _carry_over(self, there, self.kind, device, ("by_kind", "one_step", "staying"))
        return there

    def _map(self, change: Callable[[Tensor], Tensor]) -> Slots:
        target = None if self.target is None else change(self.target)
        valid = None if self.valid is None else change(self.valid)
        kind, source, at = change(self.kind), change(self.source), change(self.at)
        return Slots(kind, source, at, change(self.step), change(self.order), change(self.keep), target, valid)

    @staticmethod
    def cat(parts: Sequence[Slots]) -> Slots:
        """All rows one after another; columns given by some parts only are filled with 'none' and 'valid'."""
        width = max(part.batch or 0 for part in parts) or None

        def column(name: str, fill: int) -> Tensor | None:
            given = [getattr(part, name) for part in parts]
            if all(c is None for c in given):
                return None
            dtype = torch.bool if name == "valid" else torch.long
            full = [
                torch.full_like(p.kind, fill, dtype=dtype) if c is None else c
                for p, c in zip(parts, given, strict=True)
            ]
            if any(c.dim() == 2 for c in full):
                full = [c if c.dim() == 2 or width is None else c.expand(width, -1) for c in full]
            return torch.cat(full, dim=-1)

        def required(name: str) -> Tensor:
            found = column(name, 0)
            assert found is not None
            return found

        kind, source, at = required("kind"), required("source"), required("at")
        step, order, keep = required("step"), required("order"), required("keep")
        return Slots(kind, source, at, step, order, keep, column("target", -1), column("valid", 1))

    @property
    def batch(self) -> int | None:
        """B where some column differs per sample, else None."""
        for column in (self.source, self.at, self.target, self.valid):
            if column is not None and column.dim() == 2:
                return int(column.shape[0])
        return None


@dataclass(frozen=True, eq=False)
class Read:
    """For each predicted token: which fed slots predict it, by which way (direction), mixed how.

    Attributes:
        token: [B,] M the tokens predicted.
        slot: (M, K) index among the fed slots.
        way: (M, K) which of the backbone's outputs.
        weight: (M, K) mixing weights; each row sums to one.
    """

    token: Tensor
    slot: Tensor
    way: Tensor
    weight: Tensor

    @staticmethod
    def own(token: Tensor, slot: Tensor) -> Read:
        """Each token is predicted by one slot, by the only way."""
        slot = slot.reshape(-1, 1)
        return Read(token, slot, torch.zeros_like(slot), torch.ones(slot.shape))

    def __len__(self) -> int:
        return int(self.slot.shape[0])

    def to(self, device: torch.device) -> Read:
        """The same reads on another device, with what is known of them."""
        there = Read(*(getattr(self, field.name).to(device) for field in dataclasses.fields(self)))
        _carry_over(self, there, self.slot, device, ("single", "by_way"))
        return there

    @cached_property
    def single(self) -> bool:
        """Whether every token is read once, by way 0 (then no mixing is needed)."""
        return self.slot.shape[1] == 1 and not bool(self.way.any())

    @cached_property
    def by_way(self) -> dict[int, tuple[Tensor, Tensor, Tensor]]:
        """For each way: (index among the M tokens, slot, weight) of its reads."""
        used = self.weight > 0
        groups = {}
        for way in sorted(set(self.way[used].tolist())):
            row, column = (used & (self.way == way)).nonzero(as_tuple=True)
            groups[int(way)] = (row, self.slot[row, column], self.weight[row, column])
        return groups


@dataclass(frozen=True)
class Progress:
    """How far decoding has come at a step: what guidance and temperature schedules look at.

    Attributes:
        step: index of this step. steps: number of steps in all.
        known: tokens known before the step. drawn: tokens known after it. tokens: N.
    """

    step: int
    steps: int
    known: int
    drawn: int
    tokens: int


@dataclass(frozen=True, eq=False)
class Step:
    """Feed these slots, read these tokens off them.

    Attributes:
        feed: the slots; their ``keep`` column says which stay in the cache.
        read: what they predict.
        progress: None in a teacher-forced pass.
    """

    feed: Slots
    read: Read
    progress: Progress | None = None

    @cached_property
    def group_M(self) -> Tensor:
        """The step of the slot that predicts each token: equal for tokens that are drawn together."""
        return self.feed.step[self.read.slot[:, 0]]

    def to(self, device: torch.device) -> Step:
        """The same step on another device, with what is known of it."""
        there = Step(self.feed.to(device), self.read.to(device), self.progress)
        _carry_over(self, there, self.read.slot, device, ("group_M",))
        return there

    @staticmethod
    def cat(steps: Sequence[Step]) -> Step:
        """One teacher-forced pass: the decoding steps laid end to end."""
        offsets = [0]
        for step in steps:
            offsets.append(offsets[-1] + len(step.feed))
        reads = [step.read for step in steps]
        most = max(read.slot.shape[1] for read in reads)
        batch = max((read.token.shape[0] for read in reads if read.token.dim() == 2), default=None)
        tokens = [r.token if batch is None or r.token.dim() == 2 else r.token.expand(batch, -1) for r in reads]

        def wide(part: Tensor) -> Tensor:
            return torch.nn.functional.pad(part, (0, most - part.shape[1]))

        read = Read(
            torch.cat(tokens, dim=-1),
            torch.cat([wide(r.slot + offset) for r, offset in zip(reads, offsets, strict=False)]),
            torch.cat([wide(r.way) for r in reads]),
            torch.cat([wide(r.weight) for r in reads]),
        )
        return Step(Slots.cat([step.feed for step in steps]), read)


def _carry_over(here: object, there: object, column: Tensor, device: torch.device, names: Sequence[str]) -> None:
    """Work out cached properties before rows leave the CPU: to read them on an accelerator is to wait for it."""
    if column.device.type == "cpu" and device.type != "cpu":
        for name in names:
            vars(there)[name] = _moved(getattr(here, name), device)


def _moved(value: object, device: torch.device) -> object:
    """The same with every tensor in it on another device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _moved(each, device) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_moved(each, device) for each in value)
    return value
