"""Laws of what a backbone makes of an ordering's steps: who sees whom, and that decoding is what was trained.

Letters: B batch, N tokens, M tokens predicted, S slots, C token vector width.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from arlab.conformance.law import LawBrokenError
from arlab.conformance.subject import Subject
from arlab.conformance.toy import ToyHead
from arlab.generators.feeding import Known, gather, mask_for
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.head import Predict, Predicted
from arlab.orderings.ordering import Drawn, Visibility
from arlab.orderings.step import Slots, Step

_MOST_ASKED = 64
_MOST_NUMBERS = 2**22


def no_leak(subject: Subject) -> None:
    """No prediction depends on a token drawn in its step or later, and each depends on all tokens drawn before."""
    for name, make in (("decoding", lambda b: Step.cat(subject.steps(b))), ("training", subject.training)):
        count = len(make(1).read)
        step = make(count)
        asked = _asked(count)
        # Attention over S slots of a sample costs S² numbers; on large layouts a few predictions are asked at a time.
        for part in asked.split(max(1, _MOST_NUMBERS // len(step.feed) ** 2)):
            _ask(subject, name, _samples(step, part), part)


def _asked(count: int) -> Tensor:
    """All predictions; on large layouts so many, evenly spread, the last among them."""
    return torch.linspace(0, count - 1, min(count, _MOST_ASKED)).round().long()


def _samples(step: Step, index: Tensor) -> Step:
    token = step.read.token if step.read.token.dim() == 1 else step.read.token[index]
    return Step(step.feed.samples(index), dataclasses.replace(step.read, token=token), step.progress)


def _ask(subject: Subject, name: str, step: Step, asked_B: Tensor) -> None:
    """Sample b is asked about prediction asked_b, so that one backward pass gives all these rows of the Jacobian."""
    generator = subject.generator()
    torch.default_generator.manual_seed(subject.seed)
    width, batch = generator.tokenizer.space.width, len(asked_B)
    tokens = torch.randn(batch, subject.layout.num_tokens, width, requires_grad=True)
    noisy = torch.randn(batch, len(step.read), width, requires_grad=True)
    values_BMC = _values(generator, step, tokens, noisy if subject.noised else None)
    values_BMC[torch.arange(batch), asked_B].sum().backward()
    token_BN = torch.zeros(tokens.shape[:2]) if tokens.grad is None else tokens.grad.abs().sum(-1)
    noisy_BM = torch.zeros(noisy.shape[:2]) if noisy.grad is None else noisy.grad.abs().sum(-1)
    _judge(subject, name, step, asked_B, token_BN, noisy_BM)


def _judge(subject: Subject, name: str, step: Step, asked_B: Tensor, token_BN: Tensor, noisy_BM: Tensor) -> None:
    read_BM = step.read.token.expand(len(token_BN), -1)
    group_M = step.group_M.tolist()
    for b, m in enumerate(asked_B.tolist()):
        own = group_M[m]
        # Of a token that is drawn several times the last drawing counts: what it replaces is fed to nobody.
        drawn_at = dict(zip(read_BM[b].tolist(), group_M, strict=True))
        column = {token: position for position, token in enumerate(read_BM[b].tolist())}
        me = subject.place(int(read_BM[b, m]))
        for token in range(subject.layout.num_tokens):
            when = drawn_at.get(token, -1)
            clean = float(token_BN[b, token])
            noised = float(noisy_BM[b, column[token]]) if token in column else 0.0
            place = subject.place(token)
            if when >= own and clean != 0:
                raise LawBrokenError(f"{name}: the prediction of {me} in step {own} sees {place}, drawn in step {when}")
            if when > own and noised != 0:
                raise LawBrokenError(f"{name}: the prediction of {me} in step {own} sees noised {place} of step {when}")
            if when < own and clean == 0 and noised == 0:
                raise LawBrokenError(f"{name}: the prediction of {me} in step {own} misses {place}, known before it")
            if subject.noised and when == own and noised == 0:
                raise LawBrokenError(f"{name}: the prediction of {me} in step {own} misses its own noised {place}")


@torch.no_grad()
def cache_equals_no_cache(subject: Subject) -> None:
    """Step by step with the cache gives the hidden vectors of one pass over all steps laid end to end."""
    generator, tokens, noisy_BNC, time_BN = _truth(subject)
    cached = torch.cat([_mixed(generator, p) for p in _driven(subject, generator, tokens, noisy_BNC, time_BN)[0]], 1)
    step = Step.cat(subject.steps(len(tokens)))
    noisy = gather(noisy_BNC, step.read.token) if subject.noised else None
    time = gather(time_BN, step.read.token) if subject.noised else None
    whole = _values(generator, step, tokens, noisy, time)
    error = float((cached - whole).abs().max() / whole.abs().max())
    if error > 1e-5:
        where = int((cached - whole).abs().amax((0, 2)).argmax())
        token = subject.place(int(step.read.token.expand(len(tokens), -1)[0, where]))
        raise LawBrokenError(f"with the cache the prediction of {token} differs by {error:.1e} of the largest value")


@torch.no_grad()
def driven_by_truth(subject: Subject) -> None:
    """The decoding loop, fed with the true tokens, builds exactly the slot inputs of the steps laid end to end."""
    generator, tokens, noisy_BNC, time_BN = _truth(subject)
    inputs = torch.cat(_driven(subject, generator, tokens, noisy_BNC, time_BN)[1], 1)
    step = Step.cat(subject.steps(len(tokens)))
    condition = generator.conditioner(torch.zeros(len(tokens), dtype=torch.long))
    known = Known(tokens, noisy_BNC, time_BN) if subject.noised else Known(tokens)
    expected, _ = generator.slot_embedding(
        step.feed, known, condition, generator.ordering, generator.head, generator.tokenizer
    )
    if not torch.equal(inputs, expected):
        slot = int((inputs != expected).any(-1).any(0).nonzero()[0])
        number = int(step.feed.step[slot])
        raise LawBrokenError(f"slot {slot} of step {number} carries something else in decoding than in teacher forcing")


def directions(subject: Subject) -> None:
    """Each way reads its tokens at one constant offset, the declared one."""
    declared = subject.ordering.directions(subject.layout)
    if declared is None:
        return
    cell_NA = subject.layout.cell_NA
    for number, step in enumerate(subject.steps(1)):
        token_M = step.read.token.reshape(-1)
        for way, (row, slot, _) in step.read.by_way.items():
            at = step.feed.at.reshape(-1)[slot]
            for target, source in zip(token_M[row].tolist(), at.tolist(), strict=True):
                offset = tuple((cell_NA[target] - cell_NA[source]).tolist())
                if source >= 0 and offset != declared[way]:
                    raise LawBrokenError(
                        f"step {number}: way {way} is declared to reach {declared[way]} further, but predicts "
                        f"{subject.place(target)} from {subject.place(source)}"
                    )


def promise(subject: Subject) -> None:
    """What ``visibility`` promises is what ``see`` says."""
    if subject.ordering.visibility(subject.layout) is Visibility.RULE:
        return
    _keeps_promise(subject, "the training pass", subject.training(1).feed, None)
    kept: Slots | None = None
    for number, step in enumerate(subject.steps(1)):
        _keeps_promise(subject, f"step {number}", step.feed, kept)
        staying = step.feed.select(step.feed.keep)
        kept = staying if kept is None else Slots.cat([kept, staying])


def _keeps_promise(subject: Subject, what: str, fed: Slots, kept: Slots | None) -> None:
    ordering, layout = subject.ordering, subject.layout
    keys = fed if kept is None else Slots.cat([kept, fed])
    mask = mask_for(ordering, layout, fed, kept)
    everything = torch.ones(len(fed), len(keys), dtype=torch.bool)
    table = mask.allowed if mask.allowed is not None else everything.tril() if mask.causal else everything
    seen = ordering.see(fed, keys)
    if seen.shape != table.shape:
        raise LawBrokenError(f"{what}: see() gives {tuple(seen.shape)} for {len(fed)} slots fed and {len(keys)} seen")
    differs = (table != seen).nonzero()
    if len(differs):
        query, key = differs[0].tolist()
        sees = "sees" if bool(seen[query, key]) else "does not see"
        raise LawBrokenError(
            f"{what}: by see() slot {query} {sees} slot {key}, but visibility() promises "
            f"'{ordering.visibility(layout).value}'; who overrides see() must override visibility() as well"
        )


def _values(
    generator: Generator, step: Step, tokens: Tensor, noisy: Tensor | None = None, time: Tensor | None = None
) -> Tensor:
    condition = generator.conditioner(torch.zeros(len(tokens), dtype=torch.long))
    if noisy is not None and time is None:
        time = torch.full(noisy.shape[:2], 0.5)
    return _mixed(generator, generator.teacher_predict(step, tokens, condition)(noisy, time))


def _mixed(generator: Generator, predicted: Predicted) -> Tensor:
    head = generator.head
    assert isinstance(head, ToyHead)
    return head.values(predicted)


def _truth(subject: Subject, batch: int = 2) -> tuple[Generator, Tensor, Tensor, Tensor]:
    generator = subject.generator()
    torch.default_generator.manual_seed(subject.seed + 1)
    shape = (batch, subject.layout.num_tokens, generator.tokenizer.space.width)
    return generator, torch.randn(shape), torch.randn(shape), torch.rand(shape[:2])


@torch.no_grad()
def _driven(
    subject: Subject, generator: Generator, tokens: Tensor, noisy_BNC: Tensor, time_BN: Tensor
) -> tuple[list[Predicted], list[Tensor]]:
    """What the decoding loop predicts and feeds when the truth is drawn in every step."""
    predictions: list[Predicted] = []
    inputs: list[Tensor] = []
    embedding = generator.slot_embedding
    hook = embedding.register_forward_hook(lambda module, arguments, out: inputs.append(out[0]))

    def draw(predict: Predict, step: Step) -> Drawn:
        noise = (gather(noisy_BNC, step.read.token), gather(time_BN, step.read.token)) if subject.noised else ()
        predictions.append(predict(*noise))
        return Drawn(gather(tokens, step.read.token))

    labels = torch.zeros(len(tokens), dtype=torch.long)
    for _ in Sampler().decode(generator, labels, seeds=subject.seeds(len(tokens)), draw=draw):
        pass
    hook.remove()
    return predictions, inputs
