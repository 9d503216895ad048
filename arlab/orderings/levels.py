"""What orderings of several levels share: one level a step, predicted from the levels before it.

Letters: B batch, N tokens, n tokens of a level, S slots, C width of a token vector.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Generator

import torch
from torch import Tensor

from arlab.orderings.level_inputs import LevelInput
from arlab.orderings.ordering import Drawn, Maps, Ordering, Prefix, condition_slots, slots
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.pyramids.depth import DepthPyramid
from arlab.pyramids.frequency import FrequencyPyramid
from arlab.pyramids.pyramid import Pyramid
from arlab.pyramids.scale import ScalePyramid
from arlab.rng import Rng

_KINDS: tuple[type[Pyramid], ...] = (ScalePyramid, FrequencyPyramid, DepthPyramid)


class Levels(Ordering):
    """Visits the levels of a pyramid in order, all tokens of one at once, each predicted by the slot on its place.

    The last condition slot stands on every place of the first level (a learned vector, where there is none); the slots
    of later levels carry what the levels before them come to. A subclass says which pyramid it follows.

    Args:
        level_input: what the slots of a level carry.
        markov: whether a level is seen by its own slots only, so that nothing is kept between steps.
    """

    carries = frozenset({Kind.COND, Kind.COMPUTED, Kind.LEARNED})

    def __init__(self, *, level_input: LevelInput, markov: bool = False) -> None:
        self.level_input = level_input
        self.markov = markov
        self.modulated = markov

    @property
    @abstractmethod
    def follows(self) -> type[Pyramid]:
        """The pyramid whose levels it means; classes that are none of arlab's are taken for it."""

    def refuse(self, layout: Layout, pyramid: Pyramid | None) -> None:
        wanted, name = self.follows.__name__, type(self).__name__
        if pyramid is None and len(layout.shapes) == 1:
            raise ValueError(
                f"ordering: {name} goes from level to level, this tokenizer has one; choose one with "
                f"quantizer: PyramidQuantizer, pyramid: {wanted}, or a KLTokenizer, whose vectors it splits itself"
            )
        if isinstance(pyramid, _KINDS) and not isinstance(pyramid, self.follows):
            theirs = type(pyramid).__name__
            raise ValueError(f"ordering: {name} follows the levels of a {wanted}, this tokenizer's are a {theirs}'s")

    def layout_of(self, grid: tuple[int, ...]) -> Layout:
        return self.follows().layout(grid)

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...]:
        return ((0,) * layout.num_axes,)

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 0 if prefix.length else 1

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Generator[Step, Drawn | None, None]:
        for level, (first, size) in enumerate(zip(layout.first, layout.sizes, strict=True)):
            token = torch.arange(first, first + size)
            fed = _start(token, prefix) if level == 0 else slots(Kind.COMPUTED, token, token, level)
            if self.markov:
                fed = dataclasses.replace(fed, keep=torch.zeros_like(fed.keep))
            read = Read.own(token, torch.arange(len(fed) - size, len(fed)))
            yield Step(fed, read, Progress(level, len(layout.sizes), first, first + size, layout.num_tokens))

    def compute(self, tokens: Tensor, source: Tensor, layout: Layout, maps: Maps) -> Tensor:
        level_S = layout.level_N.to(source.device)[source]
        # The slots of a level lie side by side, coarse to fine.
        levels = level_S.unique_consecutive().tolist()
        parts = [part.flatten(2).transpose(1, 2) for part in self.level_input(tokens, levels, layout, maps)]
        return torch.cat(
            [
                part_BnC[:, source[level_S == level] - layout.first[level]]
                for level, part_BnC in zip(levels, parts, strict=True)
            ],
            dim=1,
        )


def refuse_two_pyramids(own: Pyramid | None, pyramid: Pyramid | None) -> None:
    """Refuse an ordering's own pyramid where the tokenizer has levels already.

    Raises:
        ValueError: it has.
    """
    if own is not None and pyramid is not None and pyramid is not own:
        raise ValueError(
            "ordering.pyramid: splits continuous tokens of one level, but this tokenizer's lie on levels of its own; "
            "leave it out"
        )


def _start(token: Tensor, prefix: Prefix) -> Slots:
    """The slots of the first level, behind those condition slots that stand nowhere."""
    if prefix.length == 0:
        return slots(Kind.LEARNED, torch.zeros_like(token), token, 0)
    ahead = prefix.length - 1
    standing = slots(Kind.COND, torch.full_like(token, ahead), token, 0, first=ahead)
    return Slots.cat([condition_slots(prefix, ahead), standing]) if ahead else standing
