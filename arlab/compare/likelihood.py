"""How likely real images are to a generator, and which of its decoding steps finds them hard.

Letters: B images of a batch, I images, N tokens of one, M tokens of a step, S decoding steps, G groups of images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.compare.handling import in_mode, tokens_of
from arlab.data.data import Batch, Part
from arlab.generators.generator import Generator
from arlab.metrics.figure import Figure, meaning
from arlab.metrics.protocol import Protocol
from arlab.orderings.ordering import Drawn, Prefix
from arlab.orderings.step import Step
from arlab.ranges import require
from arlab.rng import BatchRng, mix_seed

_FEWEST_BATCHES = 32
_BOUND = 3  # the stream of random numbers that validation draws bounds from


@dataclass(frozen=True)
class Likelihood:
    """How likely images are.

    Attributes:
        figures: nats and bits where they are exact, bounds of nats where there are some, else empty.
        nats_by_step: S means over images and the tokens of a decoding step; None where nats are not exact.
        tokens_by_step: how many tokens each step makes known; N in all.
    """

    figures: dict[str, Figure]
    nats_by_step: tuple[float, ...] | None
    tokens_by_step: tuple[int, ...]


@torch.no_grad()
def likelihood(
    generator: Generator,
    part: Part,
    protocol: Protocol,
    *,
    batch_size: int,
    on_batch: Callable[[], None] | None = None,
) -> Likelihood:
    """Nats of the images of a part under their classes, as ``arlab validate`` tells them, with 95 % intervals.

    What is exact does not depend on the batch size. A bound is a draw, and images share a part of it with those of
    their batch (``Masked``: which step is scored). So its interval is taken over batches, which are made smaller where
    they would be fewer than 32. Orderings that draw several tokens at once but are scored one by one
    (``RandomInstructed``) are so here, too.

    Args:
        generator: on the device to run on.
        part: the images; all of them count.
        protocol: names the split; its seed, or 0, is the bound's; the rest is filled in.
        batch_size: B, at most.
        on_batch: called after every ``batch_size`` images and after the last, where there are figures.

    Raises:
        ValueError: there are no images, or a batch has none.
    """
    require("batch_size", batch_size, at_least=1)
    require("images", len(part), at_least=1)
    done = _nothing if on_batch is None else on_batch
    told = _about(generator, len(part), protocol)
    with in_mode(generator, training=False):
        label = part.batch(torch.tensor([0]), known=False).label.to(generator.device)
        tokens_by_step = _tokens_by_step(_steps(generator, generator.conditioner(label).prefix, 1))
        scored = _exact(generator, part, batch_size, len(tokens_by_step), done)
        if scored is not None:
            nats_I, nats_S = scored
            figures = _figures(generator, _mean(nats_I, torch.ones_like(nats_I)), told)
            count_S = len(part) * torch.tensor(tokens_by_step)
            by_step = None if generator.ordering.redraws else tuple((nats_S / count_S).tolist())
            return Likelihood(figures, by_step, tokens_by_step)
        smaller = max(1, min(batch_size, len(part) // _FEWEST_BATCHES))
        seed = 0 if protocol.seed is None else protocol.seed
        bound = _bound(generator, part, smaller, batch_size, seed, done)
    if bound is None:
        return Likelihood({}, None, tokens_by_step)
    how = "value ± 1.96 standard errors over batches, the images of which share draws"
    told = dataclasses.replace(told, seed=seed, batch_size=smaller, interval=how)
    return Likelihood(_bound_figures(generator, _mean(*bound), told), None, tokens_by_step)


# ---- scoring


def _exact(
    generator: Generator, part: Part, batch_size: int, steps: int, done: Callable[[], None]
) -> tuple[Tensor, Tensor] | None:
    """Nats of each image (I,), and of the tokens of each step, summed over images, (S,); None where not exact."""
    nats, nats_S = [], torch.zeros(steps, dtype=torch.float64)
    for batch in _batches(part, batch_size, batch_size, done):
        label_B = batch.label.to(generator.device)
        log_prob_BN = generator.log_prob(tokens_of(generator, batch), label_B)
        if log_prob_BN is None:
            return None
        nats_BN = -log_prob_BN.cpu().double()
        plan = _steps(generator, generator.conditioner(label_B).prefix, len(label_B))
        nats_S.index_add_(0, _step_of_token(plan, *nats_BN.shape).flatten(), nats_BN.flatten())
        nats.append(nats_BN.sum(-1))
    return torch.cat(nats), nats_S


def _bound(
    generator: Generator, part: Part, size: int, batch_size: int, seed: int, done: Callable[[], None]
) -> tuple[Tensor, Tensor] | None:
    """Nats of each batch and how many images it has, (G,) each; None where there is no bound."""
    nats, counts = [], []
    for number, batch in enumerate(_batches(part, size, batch_size, done)):
        # As in validation on one process.
        rng = BatchRng(mix_seed(seed, number, 0, _BOUND), len(batch.label))
        bound_B = generator.bound(tokens_of(generator, batch), batch.label.to(generator.device), rng)
        if bound_B is None:
            return None
        nats.append(-bound_B.cpu().double().sum())
        counts.append(len(batch.label))
    return torch.stack(nats), torch.tensor(counts, dtype=torch.float64)


def _batches(part: Part, size: int, batch_size: int, done: Callable[[], None]) -> Iterator[Batch]:
    """Every image once, in order, so many at a time; says that they are done as often as in whole batches."""
    count, told = len(part), 0
    for row_B in torch.arange(count).split(size):
        yield part.batch(row_B, known=False)
        seen = int(row_B[-1]) + 1
        due = math.ceil(seen / batch_size) if seen == count else seen // batch_size
        for _ in range(due - told):
            done()
        told = due


# ---- steps


def _steps(generator: Generator, prefix: Prefix, batch: int) -> list[Step]:
    """The decoding steps of a batch; orderings that choose by what was drawn are told that all is equally likely."""
    plan = generator.ordering.plan(generator.layout, prefix, BatchRng(0, batch), torch.device("cpu"))
    steps: list[Step] = []
    drawn: Drawn | None = None
    while True:
        try:
            steps.append(plan.send(drawn))
        except StopIteration:
            return steps
        equal_BM = torch.zeros(batch, len(steps[-1].read))
        drawn = Drawn(equal_BM.long(), equal_BM, equal_BM)


def _tokens_by_step(steps: list[Step]) -> tuple[int, ...]:
    return tuple(step.progress.drawn - step.progress.known for step in steps if step.progress is not None)


def _step_of_token(steps: list[Step], batch: int, num_tokens: int) -> Tensor:
    """Which step draws each token of each image, (B, N); orders may differ from image to image."""
    step_BN = torch.zeros(batch, num_tokens, dtype=torch.long)
    for number, step in enumerate(steps):
        step_BN.scatter_(1, step.read.token.expand(batch, -1), number)
    return step_BN


# ---- figures


def _mean(sum_G: Tensor, count_G: Tensor) -> tuple[float, float | None]:
    """The mean over images, and its standard error from groups of them that are independent; None of one group.

    m = Σ s_g / n,  se² = G / (G - 1) · Σ (s_g - n_g m)² / n²; for groups of one image the usual one.
    """
    groups, total = len(sum_G), float(count_G.sum())
    mean = float(sum_G.sum()) / total
    if groups < 2:
        return mean, None
    variance = groups / (groups - 1) * float((sum_G - count_G * mean).square().sum()) / total**2
    return mean, math.sqrt(variance)


def _figures(generator: Generator, mean: tuple[float, float | None], told: Protocol) -> dict[str, Figure]:
    """What is exact."""
    told = dataclasses.replace(told, interval="value ± 1.96 standard errors over images")
    tokens = generator.layout.num_tokens
    figures = {
        "nats_per_token": _figure("nats_per_token", mean, told, lambda nats: nats / tokens),
        "nats_per_image": _figure("nats_per_image", mean, told, lambda nats: nats),
    }
    bits = generator.tokenizer.module.bits_per_dim
    if bits(mean[0]) is not None:
        figures["bits_per_dim"] = _figure("bits_per_dim", mean, told, lambda nats: bits(nats) or 0.0)
    return figures


def _bound_figures(generator: Generator, mean: tuple[float, float | None], told: Protocol) -> dict[str, Figure]:
    tokens = generator.layout.num_tokens
    return {
        "nats_per_token_bound": _figure("nats_per_token_bound", mean, told, lambda nats: nats / tokens),
        "nats_per_image_bound": _figure("nats_per_image_bound", mean, told, lambda nats: nats),
    }


def _figure(name: str, mean: tuple[float, float | None], told: Protocol, of_nats: Callable[[float], float]) -> Figure:
    """A figure that rises with nats per image."""
    value, error = mean
    if error is None:
        return Figure(of_nats(value), meaning(name).unit, dataclasses.replace(told, interval=None))
    low, high = (of_nats(value + sign * 1.96 * error) for sign in (-1, 1))
    return Figure(of_nats(value), meaning(name).unit, told, low, high)


def _about(generator: Generator, count: int, protocol: Protocol) -> Protocol:
    """What likelihoods depend on: nothing of how images are drawn, and of no feature network."""
    return dataclasses.replace(
        protocol,
        num_images=count,
        num_real=None,
        feature_network=None,
        feature_hash=None,
        guidance_scale=None,
        guidance=None,
        temperature=None,
        top_k=None,
        top_p=None,
        seed=None,
        batch_size=None,
        dtype=str(generator.dtype).removeprefix("torch."),
        device=str(generator.device),
        machine=None,
    )


def _nothing() -> None:
    """Called where nobody asked to be."""
