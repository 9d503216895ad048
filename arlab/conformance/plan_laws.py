"""Laws of what an ordering plans: which tokens when, from what, and whether it does so again.

Letters: B batch, N tokens, M tokens predicted.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from arlab.conformance.law import LawBrokenError
from arlab.conformance.subject import Subject
from arlab.generators.sampler import Sampler
from arlab.orderings.ordering import Prefix
from arlab.orderings.step import Kind, Step
from arlab.orderings.traversal import Traversal


def partition(subject: Subject) -> None:
    """Every token is predicted, none twice; the weights of a token's reads sum to one.

    An ordering that redraws may predict a token again in a later step, but settles at least one in each: the last
    drawing counts. The training pass is held to it as well where the ordering says that it gives an exact likelihood.
    """
    if isinstance(subject.ordering, Traversal) and len(subject.layout.shapes) == 1:
        _each_once(subject, _groups(subject.ordering.groups(subject.layout.shapes[0])))
    courses, training = subject.courses(2), subject.training(2)
    for sample in range(2):
        for steps in courses:
            _each_once(subject, _tokens(steps, sample))
            for number, step in enumerate(steps):
                _weights_sum_to_one(f"step {number}", step)
        _weights_sum_to_one("training", training)
        for token, times in enumerate(_times(subject, training, sample) if subject.ordering.exact else ()):
            if times != 1:
                place = subject.place(token)
                raise LawBrokenError(
                    f"training: token {place} is predicted {times} times, so its likelihood is not exact"
                )


def _tokens(steps: Sequence[Step], sample: int) -> list[list[int]]:
    """The tokens that each step predicts of one sample out of two."""
    return [step.read.token.expand(2, -1)[sample].tolist() for step in steps]


def _groups(returned: object) -> list[list[int]]:
    wanted = "it must be a list of tensors of token numbers, with one axis, one tensor for each step"
    if not isinstance(returned, (list, tuple)):
        raise LawBrokenError(f"groups() returns a {type(returned).__name__}; {wanted}")
    for number, group in enumerate(returned):
        if not isinstance(group, Tensor):
            raise LawBrokenError(f"groups() returns a list whose item {number} is a {type(group).__name__}; {wanted}")
        if group.dim() != 1 or group.is_floating_point():
            raise LawBrokenError(
                f"groups() returns a list whose item {number} is a {group.dtype} tensor of shape {tuple(group.shape)}; "
                f"{wanted}"
            )
    return [group.tolist() for group in returned]


def _each_once(subject: Subject, groups: Sequence[Sequence[int]]) -> None:
    seen: dict[int, int] = {}
    for number, group in enumerate(groups):
        if len(group) == 0:
            raise LawBrokenError(f"step {number} predicts no token")
        for token in group:
            _exists(subject, f"step {number}", token)
            if token in seen and not (subject.ordering.redraws and seen[token] < number):
                place = subject.place(token)
                raise LawBrokenError(f"token {place} is predicted in step {seen[token]} and again in step {number}")
            seen[token] = number
    missing = sorted(set(range(subject.layout.num_tokens)) - set(seen))
    if missing:
        raise LawBrokenError(f"token {subject.place(missing[0])} is never predicted")
    settling = set(seen.values())
    for number in range(len(groups)):
        if number not in settling:
            raise LawBrokenError(f"every token of step {number} is predicted again later, so that it settles none")


def _times(subject: Subject, training: Step, sample: int) -> list[int]:
    tokens = training.read.token.expand(2, -1)[sample].tolist()
    for token in tokens:
        _exists(subject, "training", token)
    return torch.tensor(tokens).bincount(minlength=subject.layout.num_tokens).tolist()


def _exists(subject: Subject, where: str, token: int) -> None:
    count = subject.layout.num_tokens
    if not 0 <= token < count:
        raise LawBrokenError(f"{where} predicts token {token}, but there are {count}, 0 to {count - 1}")


def _weights_sum_to_one(where: str, step: Step) -> None:
    total_M = step.read.weight.sum(-1)
    if not torch.allclose(total_M, torch.ones_like(total_M)):
        raise LawBrokenError(f"{where}: mixing weights of a token sum to {total_M.tolist()}, not 1")


def declared(subject: Subject) -> None:
    """What it declares is so: kinds of slots, learned vectors, ways; slots refer to what there is, in rising steps."""
    steps = subject.steps(2)
    for where, step in [
        *((f"step {number}", step) for number, step in enumerate(steps)),
        ("training", subject.training(2)),
    ]:
        _refers_to_what_there_is(subject, where, step)
    last = -1
    for number, step in enumerate(steps):
        if int(step.feed.step.min()) <= last:
            raise LawBrokenError(
                f"step {number} feeds a slot numbered {int(step.feed.step.min())}, but the step before had {last} "
                "already, so that they count as one step"
            )
        last = int(step.feed.step.max())
    _learned_are_fed(subject, [*steps, subject.training(2)])
    offsets, ways = subject.ordering.directions(subject.layout), subject.ordering.num_ways(subject.layout)
    if offsets is not None and len(offsets) != ways:
        raise LawBrokenError(f"directions() gives {len(offsets)} offsets, num_ways() {ways} ways")


def _refers_to_what_there_is(subject: Subject, where: str, step: Step) -> None:
    if len(step.feed) == 0:
        raise LawBrokenError(f"{where} feeds no slot; where there is no condition slot it takes a learned one")
    ordering, tokens = subject.ordering, subject.layout.num_tokens
    learned = ordering.num_learned(subject.layout, Prefix(subject.num_slots))
    there = {
        Kind.COND: (subject.num_slots, "condition slots"),
        Kind.LEARNED: (learned, "learned vectors (num_learned)"),
    }
    feed, read = step.feed, step.read
    for number in sorted(set(feed.kind.tolist())):
        kind = Kind(number)
        if kind not in ordering.carries:
            names = ", ".join(each.name for each in sorted(ordering.carries))
            raise LawBrokenError(f"{where} feeds a {kind.name} slot, but carries names only {names}")
        most, what = there.get(kind, (tokens, "tokens"))
        _in_range(f"{where} feeds a {kind.name} slot of source", feed.source[..., feed.kind == kind], 0, most, what)
    _in_range(f"{where} feeds a slot at", feed.at, -1, tokens, "tokens")
    if feed.target is not None:
        _in_range(f"{where} feeds a slot with target", feed.target, -1, tokens, "tokens")
    _in_range(f"{where} reads slot", read.slot, 0, len(feed), "slots fed")
    _in_range(f"{where} reads way", read.way, 0, ordering.num_ways(subject.layout), "ways (num_ways)")


def _in_range(what: str, values: Tensor, least: int, count: int, of: str) -> None:
    wrong = values[(values < least) | (values >= count)]
    if len(wrong):
        raise LawBrokenError(f"{what} {int(wrong[0])}, but there are {count} {of}")


def _learned_are_fed(subject: Subject, steps: Sequence[Step]) -> None:
    if not subject.ordering.static:
        return
    fed = {int(s) for step in steps for s in step.feed.source[..., step.feed.kind == Kind.LEARNED].flatten()}
    count = subject.ordering.num_learned(subject.layout, Prefix(subject.num_slots))
    for vector in range(count):
        if vector not in fed:
            raise LawBrokenError(f"num_learned() says {count}, but learned vector {vector} is never fed")


def progress(subject: Subject) -> None:
    """Every step says how far decoding has come: its number, how many there are, tokens known before and after.

    Tokens are known from the last step on that predicts them; as many in every sample.
    """
    for steps in subject.courses(2):
        for sample in range(2):
            _tells_progress(subject, steps, _tokens(steps, sample))


def _tells_progress(subject: Subject, steps: Sequence[Step], groups: Sequence[Sequence[int]]) -> None:
    settled = Counter({token: number for number, group in enumerate(groups) for token in group}.values())
    known = 0
    for number, step in enumerate(steps):
        if step.progress is None:
            raise LawBrokenError(f"step {number} has no progress, which guidance schedules look at")
        drawn = known + settled[number]
        right = {
            "step": number,
            "steps": len(steps),
            "known": known,
            "drawn": drawn,
            "tokens": subject.layout.num_tokens,
        }
        for name, value in right.items():
            told = getattr(step.progress, name)
            if told != value:
                raise LawBrokenError(f"step {number}: progress.{name} is {told}, should be {value}")
        known = drawn


def deterministic(subject: Subject) -> None:
    """The same random numbers give the same steps, none others are drawn; static steps do not depend on any."""
    before = torch.get_rng_state()
    passes = [(subject.steps(2), subject.training(2)) for _ in range(2)]
    if not torch.equal(before, torch.get_rng_state()):
        raise LawBrokenError("random numbers are drawn from torch's global generator; draw them from rng")
    _same(passes, "is another when it is planned again with the same random numbers")
    if subject.ordering.static:
        other = dataclasses.replace(subject, seed=subject.seed + 100)
        promise = "depends on the random numbers, but static promises that the layout alone decides"
        _same([passes[0], (other.steps(2), other.training(2))], promise)


def _same(passes: list[tuple[list[Step], Step]], meaning: str) -> None:
    (steps, training), (others, other_training) = passes
    if len(steps) != len(others):
        raise LawBrokenError(f"step {min(len(steps), len(others))} {meaning}")
    pairs = [(f"step {number}", *pair) for number, pair in enumerate(zip(steps, others, strict=True))]
    for where, one, other in [*pairs, ("the training pass", training, other_training)]:
        column = _difference(one, other)
        if column is not None:
            raise LawBrokenError(f"{where} {meaning} ({column})")


def _difference(one: Step, other: Step, sample: int | None = None) -> str | None:
    """The first column in which two steps differ; with ``sample``, that sample of the first from the whole second."""
    for part in ("feed", "read"):
        for field in dataclasses.fields(getattr(one, part)):
            a, b = (getattr(getattr(step, part), field.name) for step in (one, other))
            if a is None or b is None:
                if a is not b:
                    return f"{part}.{field.name}"
                continue
            if sample is not None and (part, field.name) not in _SHARED:
                a, b = (a[sample] if a.dim() == 2 else a), (b[0] if b.dim() == 2 else b)
            if a.shape != b.shape or not torch.equal(a, b):
                return f"{part}.{field.name}"
    return None


_SHARED = {("read", "slot"), ("read", "way"), ("read", "weight")}
"""Columns that never differ per sample; their first dimension is another."""


@torch.no_grad()
def batching(subject: Subject) -> None:
    """A sample depends on its own seed and class alone, not on the others of its batch."""
    seeds = subject.seeds(3)
    together, alone = subject.steps_of(seeds), subject.steps_of(seeds[1:2])
    for number, (one, other) in enumerate(zip(together, alone, strict=False)):
        column = _difference(one, other, 1)
        if column is not None:
            raise LawBrokenError(f"step {number} of sample 1 is another when it is planned alone ({column})")
    if len(together) != len(alone):
        raise LawBrokenError(f"of sample 1 there are {len(alone)} steps when it is planned alone, {len(together)} else")
    generator, labels = subject.generator(), torch.tensor([0, 1, 2])
    whole = Sampler().sample(generator, labels, seeds=seeds).tokens
    own = Sampler().sample(generator, labels[1:2], seeds=seeds[1:2]).tokens
    wrong_N = (whole[1] - own[0]).abs().amax(-1) > 1e-4 * max(1.0, float(own.abs().max()))
    if bool(wrong_N.any()):
        place = subject.place(int(wrong_N.nonzero()[0, 0]))
        raise LawBrokenError(f"token {place} of sample 1 is another when the sample is drawn alone")
