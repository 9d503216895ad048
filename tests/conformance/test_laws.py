"""Each law of orderings catches what it is for, and the published ones obey them all.

That all of arlab's own components obey theirs: test_components.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator

import pytest
import torch
from torch import Tensor

from arlab.conformance.laws import LAWS, LawBrokenError, Subject
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.level_inputs import Previous
from arlab.orderings.masked import Masked
from arlab.orderings.next_block import NextBlock
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_scale import NextScale
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Drawn, Maps, Ordering, Prefix, Visibility, causal, condition_slots, slots
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.raster import Raster
from arlab.orderings.set_sizes import CosineSizes, LinearSizes
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.orderings.traversal import Traversal
from arlab.rng import Rng, SampleRng

Law = Callable[[Subject], None]
Steps = Generator[Step, Drawn | None, None]
FLAT = (((2, 3),), ((1, 4),), ((4, 2),), ((3, 3),))
PYRAMIDS = (((1, 1), (1, 2), (2, 3)), ((1, 1), (2, 2), (3, 3)), ((2, 2), (3, 4)))
CELLS = (((3, 4),), ((2, 6),), ((4, 4),))


class Rows(Traversal):
    """A row a step: the parallel side of Traversal."""

    def __init__(self) -> None:
        pass

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        return list(torch.arange(grid[0] * grid[1]).split(grid[1]))


FIXTURES = (
    (Rows(), FLAT, (0, 1, 3)),
    (NextScale(markov=True), PYRAMIDS, (0, 1, 3)),
    (NextScale(level_input=Previous()), PYRAMIDS, (0, 1, 3)),
    (Masked(set_sizes=CosineSizes(num_steps=3)), (*FLAT, *PYRAMIDS), (0, 1, 3)),
    (Masked(set_sizes=LinearSizes(num_steps=3), choice=ConfidenceChoice()), FLAT, (0, 1, 3)),
    (RandomInstructed(set_sizes=CosineSizes(num_steps=3)), FLAT, (1, 3)),
    (NextNeighbor(causal_condition=True), FLAT, (0, 1, 3)),
    (NextX(), CELLS, (0, 1, 3)),
    (NextBlock(), CELLS, (0, 1, 3)),
)


def subjects() -> list[Subject]:
    """Every pair of an ordering and a layout, with several numbers of condition slots."""
    return [Subject(o, Layout(shapes), p) for o, layouts, counts in FIXTURES for shapes in layouts for p in counts]


def named(subject: Subject) -> str:
    grids = "+".join("x".join(map(str, shape)) for shape in subject.layout.shapes)
    return f"{type(subject.ordering).__name__}-{grids}-{subject.num_slots}"


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("subject", subjects(), ids=named)
def test_law_holds(subject: Subject, law: Law) -> None:
    law(subject)


# ---- broken orderings: the first law that fails is the right one, and says where


class Broken(Ordering):
    """One token a step in raster order, like Raster; each subclass breaks one thing."""

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})

    def __init__(self) -> None:
        pass

    def visibility(self, layout: Layout) -> Visibility:
        return Visibility.CAUSAL

    def see(self, query: Slots, key: Slots) -> Tensor:
        return causal(query, key)

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        for number, index in enumerate(self.predicted(layout)):
            before = torch.tensor([index - 1])
            fed = slots(Kind.TOKEN, before, before, number) if number else self.start(prefix)
            yield self.step(fed, torch.tensor([index]), number, layout)

    def start(self, prefix: Prefix) -> Slots:
        nowhere = torch.tensor([-1])
        return condition_slots(prefix) if prefix.length else slots(Kind.LEARNED, torch.tensor([0]), nowhere, 0)

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 0 if prefix.length else 1

    def predicted(self, layout: Layout) -> list[int]:
        return list(range(layout.num_tokens))

    def step(self, fed: Slots, token: Tensor, number: int, layout: Layout) -> Step:
        progress = Progress(number, layout.num_tokens, number, number + 1, layout.num_tokens)
        return Step(fed, Read.own(token, torch.tensor([len(fed) - 1])), progress)


class Sound(Broken):
    """Breaks nothing, so that the others are broken by what they change alone."""


class Forgets(Broken):
    def predicted(self, layout: Layout) -> list[int]:
        return list(range(layout.num_tokens - 1))


class Repeats(Broken):
    def predicted(self, layout: Layout) -> list[int]:
        return [*range(layout.num_tokens), 2]


class WeighsTooMuch(Broken):
    def step(self, fed: Slots, token: Tensor, number: int, layout: Layout) -> Step:
        right = super().step(fed, token, number, layout)
        heavy = Read(right.read.token, right.read.slot, right.read.way, right.read.weight * (1.5 if number == 4 else 1))
        return Step(right.feed, heavy, right.progress)


class ForgetsInTraining(Broken):
    """Says that its training pass gives an exact likelihood, but leaves out the last token there."""

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return Forgets().training(layout, prefix, rng)


class Invents(Broken):
    """Names a token that is not there."""

    def predicted(self, layout: Layout) -> list[int]:
        return [*range(layout.num_tokens - 1), layout.num_tokens]


class Undeclared(Rows):
    """Feeds queries, but does not say so."""

    carries = frozenset({Kind.COND, Kind.TOKEN})


class CountsTooFew(Rows):
    """Its queries are a learned vector, but it asks for none."""

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 0


class CountsTooMany(Rows):
    """Asks for a learned vector that it never feeds."""

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 2


class StartsFromNothing(Broken):
    """Feeds nothing at first."""

    def start(self, prefix: Prefix) -> Slots:
        return condition_slots(Prefix(0))


class CountsNoSteps(Broken):
    """All its slots say that they are fed in step 0."""

    def step(self, fed: Slots, token: Tensor, number: int, layout: Layout) -> Step:
        return super().step(dataclasses.replace(fed, step=torch.zeros_like(fed.step)), token, number, layout)


class NamesOtherWays(Broken):
    """Has one way, but declares the offsets of two."""

    def directions(self, layout: Layout) -> tuple[tuple[int, ...], ...]:
        return ((0, 1), (1, 0))


class Redraws(Broken):
    """Draws every token not known yet in each step, and keeps the first; ``redraws`` says so, as it must."""

    redraws = True
    exact = False

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return Sound().training(layout, prefix, rng)

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        for number in range(layout.num_tokens):
            fed = self.start(prefix)
            if number:
                known = torch.arange(self.known(number))
                fed = slots(Kind.TOKEN, known, known, number, keep=False)
            token = self.asked(number, layout)
            read = Read.own(token, torch.full_like(token, len(fed) - 1))
            fed = dataclasses.replace(fed, step=torch.full_like(fed.step, number), keep=torch.zeros_like(fed.keep))
            yield Step(fed, read, self.told(number, layout))

    def known(self, number: int) -> int:
        return number

    def asked(self, number: int, layout: Layout) -> Tensor:
        return torch.arange(number, layout.num_tokens)

    def told(self, number: int, layout: Layout) -> Progress:
        return Progress(number, layout.num_tokens, number, number + 1, layout.num_tokens)


class HidesRedraws(Redraws):
    redraws = False


class NeverSettles(Redraws):
    """Draws all tokens in every step, so that no drawing but the last comes to anything."""

    def asked(self, number: int, layout: Layout) -> Tensor:
        return torch.arange(layout.num_tokens)


class AsksTwice(Redraws):
    """Names a token twice in one step."""

    def asked(self, number: int, layout: Layout) -> Tensor:
        right = super().asked(number, layout)
        return torch.cat((right, right[-1:]))


class CountsGuesses(Redraws):
    """Takes for known what it draws again."""

    def told(self, number: int, layout: Layout) -> Progress:
        return dataclasses.replace(super().told(number, layout), drawn=layout.num_tokens)


class FeedsGuesses(Redraws):
    """Feeds a token that this step draws again."""

    def known(self, number: int) -> int:
        return number + 1


class TrustsWhatItIsTold(Redraws):
    """Ends early, but only when it is told how likely drawn tokens are."""

    chooses = True

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        for step in super().steps(layout, prefix, rng):
            drawn = yield step
            if drawn is not None and drawn.log_prob is not None:
                return


class LosesCount(Broken):
    """Says at every step that nothing is known yet."""

    def step(self, fed: Slots, token: Tensor, number: int, layout: Layout) -> Step:
        right = super().step(fed, token, number, layout)
        assert right.progress is not None
        return dataclasses.replace(right, progress=dataclasses.replace(right.progress, known=0))


class Shuffled(Broken):
    """A permutation for all samples; each token is predicted from the one before it."""

    static = False

    def order(self, layout: Layout, rng: Rng) -> Tensor:
        # Drawn for each sample, but the first one's serves all.
        return rng.permutation(layout.num_tokens)[0]

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        order_N = self.order(layout, rng)
        for number in range(layout.num_tokens):
            before = order_N[number - 1 : number]
            fed = slots(Kind.TOKEN, before, before, number) if number else self.start(prefix)
            yield self.step(fed, order_N[number : number + 1], number, layout)


class DrawsElsewhere(Shuffled):
    """Draws its order from torch's global generator."""

    def order(self, layout: Layout, rng: Rng) -> Tensor:
        return torch.randperm(layout.num_tokens)


class NotStatic(Shuffled):
    """Draws its order, but promises that the layout alone decides."""

    static = True


class NeverTheSame(Shuffled):
    """Goes on from the order it made the last time."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def order(self, layout: Layout, rng: Rng) -> Tensor:
        self.calls += 1
        return torch.arange(layout.num_tokens).roll(self.calls)


class MixesImages(NextScale):
    """What its slots carry is the mean over the batch."""

    def compute(self, tokens: Tensor, source: Tensor, layout: Layout, maps: Maps) -> Tensor:
        own = super().compute(tokens, source, layout, maps)
        return own.mean(0, keepdim=True).expand_as(own)


class SeesItself(Broken):
    """Feeds the token it predicts, behind the one before it."""

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        for number, right in enumerate(super().steps(layout, prefix, rng)):
            own = slots(Kind.TOKEN, right.read.token, right.read.token, number, first=len(right.feed))
            yield self.step(Slots.cat([right.feed, own]), right.read.token, number, layout)


class SeesItselfInTraining(Broken):
    """Decodes well, but trains like the one above."""

    def training(self, layout: Layout, prefix: Prefix, rng: Rng, trained: float = 1.0) -> Step:
        return SeesItself().training(layout, prefix, rng)


class Shortsighted(Broken):
    """Sees its own step and the one before; two layers reach three steps back."""

    def visibility(self, layout: Layout) -> Visibility:
        return Visibility.RULE

    def see(self, query: Slots, key: Slots) -> Tensor:
        return causal(query, key) & (key.step[None, :] >= query.step[:, None] - 1)


class PromisesTooMuch(Rows):
    """Queries of a group see each other, which plain causality does not let them."""

    def visibility(self, layout: Layout) -> Visibility:
        return Visibility.CAUSAL


class SeesWhatLeft(Rows):
    """Its rule shows later steps the queries that did not stay in the cache."""

    def see(self, query: Slots, key: Slots) -> Tensor:
        return key.step[None, :] <= query.step[:, None]


class Peeks(NextScale):
    """Mixes the level being predicted into the canvas.

    Args:
        amount: how much of it.
        tracked: whether gradients pass.
    """

    def __init__(self, *, amount: float, tracked: bool) -> None:
        super().__init__()
        self.amount = amount
        self.tracked = tracked

    def compute(self, tokens: Tensor, source: Tensor, layout: Layout, maps: Maps) -> Tensor:
        own = tokens[:, source] if self.tracked else tokens[:, source].detach()
        return super().compute(tokens, source, layout, maps) + self.amount * own


class SwapsWays(NextNeighbor):
    """Reads the right neighbour off the way declared to reach below, and the other way round."""

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> Steps:
        for step in super().steps(layout, prefix, rng):
            read = step.read
            yield Step(step.feed, Read(read.token, read.slot, 1 - read.way, read.weight), step.progress)


class Unwritable(Broken):
    """Takes a function, which no checkpoint can hold."""

    def __init__(self, *, change: Callable[[Tensor], Tensor] = torch.clone) -> None:
        super().__init__()
        self.change = change


PYRAMID = ((1, 1), (1, 2), (2, 3))
BROKEN = (
    (Forgets(), ((2, 3),), "partition", r"token \(1, 2\) is never predicted"),
    (Repeats(), ((2, 3),), "partition", r"token \(0, 2\) is predicted in step 2 and again in step 6"),
    (ForgetsInTraining(), ((2, 3),), "partition", r"training: token \(1, 2\) is predicted 0 times"),
    (WeighsTooMuch(), ((2, 3),), "partition", r"step 4: mixing weights of a token sum to \[1\.5\]"),
    (Invents(), ((2, 3),), "partition", r"step 5 predicts token 6, but there are 6, 0 to 5"),
    (Undeclared(), ((2, 3),), "declared", r"step 0 feeds a LEARNED slot, but carries names only COND, TOKEN"),
    (CountsTooFew(), ((2, 3),), "declared", r"LEARNED slot of source 0, but there are 0 learned vectors"),
    (CountsTooMany(), ((2, 3),), "declared", r"says 2, but learned vector 1 is never fed"),
    (StartsFromNothing(), ((2, 3),), "declared", r"step 0 feeds no slot"),
    (CountsNoSteps(), ((2, 3),), "declared", r"step 1 feeds a slot numbered 0, but the step before had 0 already"),
    (NamesOtherWays(), ((2, 3),), "declared", r"directions\(\) gives 2 offsets, num_ways\(\) 1 ways"),
    (HidesRedraws(), ((2, 3),), "partition", r"token \(0, 1\) is predicted in step 0 and again in step 1"),
    (NeverSettles(), ((2, 3),), "partition", r"every token of step 0 is predicted again later, so that it settles"),
    (AsksTwice(), ((2, 3),), "partition", r"token \(1, 2\) is predicted in step 0 and again in step 0"),
    (TrustsWhatItIsTold(), ((2, 3),), "progress", r"step 0: progress\.steps is 6, should be 1"),
    (CountsGuesses(), ((2, 3),), "progress", r"step 0: progress\.drawn is 6, should be 1"),
    (FeedsGuesses(), ((2, 3),), "no_leak", r"decoding: the prediction of \(0, 1\) in step 1 sees \(0, 1\)"),
    (LosesCount(), ((2, 3),), "progress", r"step 1: progress\.known is 0, should be 1"),
    (DrawsElsewhere(), ((2, 3),), "deterministic", r"torch's global generator"),
    (NotStatic(), ((2, 3),), "deterministic", r"step 0 depends on the random numbers, but static promises"),
    (NeverTheSame(), ((2, 3),), "deterministic", r"step 0 is another when it is planned again"),
    (Shuffled(), ((2, 3),), "batching", r"step 0 of sample 1 is another when it is planned alone \(read\.token\)"),
    (MixesImages(), PYRAMID, "batching", r"token level 1 \(0, 0\) of sample 1 is another when the sample is drawn"),
    (SeesItself(), ((2, 3),), "no_leak", r"decoding: the prediction of \(0, 0\) in step 0 sees \(0, 0\)"),
    (SeesItselfInTraining(), ((2, 3),), "no_leak", r"training: the prediction of \(0, 0\) in step 0 sees \(0, 0\)"),
    (Shortsighted(), ((2, 3),), "no_leak", r"decoding: the prediction of \(1, 1\) in step 4 misses \(0, 0\)"),
    (Peeks(amount=1.0, tracked=True), PYRAMID, "no_leak", r"of level 1 \(0, 0\) in step 1 sees level 1 \(0, 0\)"),
    (PromisesTooMuch(), ((2, 3),), "promise", r"slot \d sees slot \d, but visibility\(\) promises 'a slot"),
    (Peeks(amount=1.0, tracked=False), PYRAMID, "driven_by_truth", r"slot 1 of step 1 carries something else"),
    (Peeks(amount=1e-6, tracked=False), PYRAMID, "driven_by_truth", r"slot 1 of step 1 carries something else"),
    (SeesWhatLeft(), ((2, 3),), "cache_equals_no_cache", r"the prediction of \(1, \d\) differs by"),
    (SwapsWays(), ((2, 3),), "directions", r"way 0 is declared to reach \(0, 1\) further, but predicts \(1, 0\) from"),
    (Unwritable(), ((2, 3),), "rebuilt", r"cannot be rebuilt from its record: a constructor argument of type"),
)


@pytest.mark.parametrize(("ordering", "shapes", "law", "message"), BROKEN, ids=lambda v: type(v).__name__)
def test_first_broken_law(ordering: Ordering, shapes: tuple[tuple[int, int], ...], law: str, message: str) -> None:
    subject = Subject(ordering, Layout(shapes))
    for each in LAWS:
        if each.__name__ == law:
            with pytest.raises(LawBrokenError, match=message):
                each(subject)
            return
        each(subject)
    pytest.fail(f"there is no law {law}")


def test_the_orderings_that_break_nothing_else() -> None:
    for law in LAWS:
        law(Subject(Sound(), Layout(((2, 3),))))
        law(Subject(Redraws(), Layout(((2, 3),))))
    assert {law for _, _, law, _ in BROKEN} == {law.__name__ for law in LAWS}


def test_a_grid_that_cannot_be_walked_is_refused() -> None:
    with pytest.raises(ValueError, match="Raster walks a single grid"):
        list(Raster().steps(Layout(PYRAMID), Prefix(1), SampleRng([0])))
