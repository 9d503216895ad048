"""An ordering on a layout, as the laws of orderings look at it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from arlab.conformance.law import Grid, LawBrokenError, shown
from arlab.conformance.refusal import is_refusal
from arlab.conformance.toy import toy_generator
from arlab.generators.generator import Generator
from arlab.orderings.ordering import Drawn, Ordering, Prefix
from arlab.orderings.step import Kind, Layout, Step
from arlab.orderings.traversal import Traversal
from arlab.rng import SampleRng, mix_seed

SLOTS = (0, 1, 3)
_DRAWN_LAYOUTS = 3


@dataclass(frozen=True)
class Subject:
    """An ordering on a layout, with a toy generator around it.

    Attributes:
        ordering: what is tested.
        layout: the grids it is tested on.
        num_slots: P, condition slots.
        seed: of weights, tokens and drawn orders.
    """

    ordering: Ordering
    layout: Layout
    num_slots: int = 1
    seed: int = 0

    @property
    def component(self) -> Ordering:
        """What is tested."""
        return self.ordering

    @property
    def told(self) -> str:
        """The number of condition slots, and the levels where there are several."""
        slots = f"{self.num_slots or 'no'} condition slot{'' if self.num_slots == 1 else 's'}"
        levels = self.layout.shapes
        return slots if len(levels) == 1 else f"{slots}, levels {' '.join(map(shown, levels))}"

    def generator(self) -> Generator:
        """A fresh toy generator."""
        return toy_generator(self.ordering, self.layout, num_slots=self.num_slots, seed=self.seed)

    def seeds(self, batch: int) -> list[int]:
        """Seeds of the samples."""
        return [self.seed + sample for sample in range(batch)]

    def steps(self, batch: int) -> list[Step]:
        """The decoding steps, with the randomness that the decoding loop would use."""
        return self.steps_of(self.seeds(batch))

    def courses(self, batch: int) -> list[list[Step]]:
        """The decoding steps; of an ordering that chooses, also those when it is told how likely drawn tokens are."""
        told = [self.steps_of(self.seeds(batch), told=True)] if self.ordering.chooses else []
        return [self.steps(batch), *told]

    def steps_of(self, seeds: Sequence[int], *, told: bool = False) -> list[Step]:
        """The decoding steps of the samples of these seeds; told, or not, of probabilities, which are invented."""
        most = 2 * self.layout.num_tokens + 16
        rng = SampleRng([mix_seed(seed, 0) for seed in seeds])
        chance = SampleRng([mix_seed(seed, 1) for seed in seeds])
        plan = self.ordering.steps(self.layout, Prefix(self.num_slots), rng)
        steps, drawn = list(itertools.islice(plan, 1)), None
        while steps:
            if told:
                token_BM = steps[-1].read.token.expand(len(seeds), -1)
                drawn = Drawn(torch.zeros_like(token_BM), -chance.uniform(token_BM.shape[1]))
            try:
                steps.append(plan.send(drawn))
            except StopIteration:
                break
            if len(steps) > most:
                raise LawBrokenError(f"there are {self.layout.num_tokens} tokens, but more than {most} steps")
        return steps

    def training(self, batch: int) -> Step:
        """The teacher-forced pass."""
        rng = SampleRng([mix_seed(seed, 0) for seed in self.seeds(batch)])
        return self.ordering.training(self.layout, Prefix(self.num_slots), rng)

    def place(self, token: int) -> str:
        """A token's coordinates, with its level where there are several."""
        cell = tuple(self.layout.cell_NA[token].tolist())
        level = f"level {int(self.layout.level_N[token])} " if len(self.layout.shapes) > 1 else ""
        return f"{level}{cell}"

    @property
    def noised(self) -> bool:
        """Whether noised tokens are fed."""
        return Kind.NOISY in self.ordering.carries

    def refuse(self) -> None:
        """See that the ordering takes this layout and this condition.

        Raises:
            ValueError: it does not.
        """
        if isinstance(self.ordering, Traversal) and len(self.layout.shapes) == 1:
            # That its groups are no partition is a law that it breaks, not a grid that it refuses.
            groups = self.ordering.groups(self.layout.shapes[0])
            if sorted(cell for group in groups for cell in group.tolist()) == list(range(self.layout.num_tokens)):
                self.ordering.refuse(self.layout, None)
            return
        self.ordering.refuse(self.layout, None)
        try:
            self.steps(1)
        except LawBrokenError:
            return


def ordering_cases(ordering: Ordering, grid: Grid) -> list[Subject]:
    """An ordering on a layout of its own choice, on layouts it draws, with several numbers of condition slots.

    Raises:
        ValueError: it refuses them all.
    """
    layout = ordering.choose_layout(ordering.layout_of(grid))
    drawn = range(_DRAWN_LAYOUTS if ordering.draws_layouts else 0)
    layouts = dict.fromkeys([layout, *(ordering.draw_layout(layout, SampleRng([seed])) for seed in drawn)])
    return accepted([Subject(ordering, each, count) for each in layouts for count in SLOTS])


def accepted(subjects: list[Subject]) -> list[Subject]:
    """Those that the ordering takes; what raises another error than a refusal is for the laws.

    Raises:
        ValueError: it takes none.
    """
    taken, refusal = [], None
    for subject in subjects:
        try:
            subject.refuse()
        except Exception as error:
            if isinstance(error, ValueError) and is_refusal(error, type(subject.ordering)):
                refusal = refusal or error
                continue
            # Which law it breaks by this is told when the laws are tried.
        taken.append(subject)
    if not taken and refusal is not None:
        raise refusal
    return taken
