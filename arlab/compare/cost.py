"""What sampling and training cost: steps, passes, operations, time and memory.

Letters: B images of a batch, N tokens of one.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from arlab.compare.flops import counting_flops
from arlab.compare.handling import in_mode, machine_name, tokens_of
from arlab.compare.memory import peak_memory
from arlab.data.data import Batch
from arlab.generators.generator import Generator
from arlab.generators.sampler import Partial, Sampler, Samples
from arlab.heads.denoiser import Denoise, Denoised, Denoiser
from arlab.heads.head import Predict
from arlab.metrics.figure import Figure, meaning
from arlab.metrics.protocol import Protocol
from arlab.orderings.step import Step
from arlab.ranges import require
from arlab.rng import BatchRng, mix_seed

_TIMES = 6
_LONG = 10.0
_DRAWS = 8


def sampling_cost(
    generator: Generator, sampler: Sampler, labels: Tensor, *, batch_size: int, seed: int, protocol: Protocol
) -> dict[str, Figure]:
    """What it costs to draw images: counts of one image, speed and memory of a batch, time of one image alone.

    Steps, passes of the backbone, looks of the head's own denoiser (``head_evaluations``, where it has one) and
    operations are counted while an image is drawn (``counting_flops`` says which). Times are medians of 6, or the
    first where it takes more than 10 s, after a run that is not timed, the tokenizer's decoder included. Memory is
    ``peak_memory`` of a batch.

    Args:
        generator: on the device to measure.
        sampler: how images are drawn.
        labels: classes, taken in turn.
        batch_size: B.
        seed: image i is drawn by ``mix_seed(seed, i)``.
        protocol: names the split and how images are drawn; the rest is filled in.

    Raises:
        ValueError: there is no label, or the batch has no image.
    """
    require("batch_size", batch_size, at_least=1)
    require("labels: how many", len(labels), at_least=1)
    device = generator.device

    def sampling(count: int) -> Callable[..., Samples]:
        label_B = labels[torch.arange(count, device=labels.device) % len(labels)]
        seeds = [mix_seed(seed, i) for i in range(count)]
        return functools.partial(sampler.sample, generator, label_B, seeds=seeds)

    one, many = sampling(1), sampling(batch_size)
    # In this order each run also warms the next: plans are made by the first, memory is taken by the one before.
    values = _counts(generator, one)
    values["peak_memory"] = peak_memory(many, device) / 1e6
    of_batch = _seconds(many, device)
    one()
    of_one = _seconds(one, device)

    drawn = _asked(protocol, seed)
    ran = dataclasses.replace(
        drawn,
        batch_size=batch_size,
        dtype=str(generator.dtype).removeprefix("torch."),
        device=str(device),
        machine=machine_name(device),
    )
    figures = {name: _figure(name, value, drawn) for name, value in values.items()}
    figures["peak_memory"] = dataclasses.replace(figures["peak_memory"], protocol=ran)
    weights = sum(weight.numel() for weight in generator.parameters() if weight.requires_grad)
    figures["parameters"] = _figure("parameters", weights, Protocol(protocol.split))
    figures["images_per_second"] = _median("images_per_second", [batch_size / each for each in of_batch], ran)
    figures["latency"] = _median("latency", of_one, dataclasses.replace(ran, batch_size=1))
    return figures


def training_flops(generator: Generator, batch: Batch) -> float:
    """Operations of a training step: forward and backward of the objective on a batch, from its tokens on.

    The frozen tokenizer's encoder is left out: its tokens are worked out once, or come from a cache. Where a step
    depends on what is drawn (masked tokens, layouts) it is the mean over 8 draws. Weights, gradients and PyTorch's
    own randomness stay as they are; the optimizer's arithmetic is not counted (``counting_flops`` says what is).

    Args:
        generator: of any mode, attached to a Trainer or not.
        batch: as a training step gets it.
    """
    ordering, device = generator.ordering, generator.device
    draws = 1 if ordering.static and not ordering.draws_layouts else _DRAWS
    weights = [weight for weight in generator.parameters() if weight.requires_grad]
    label_B, total = batch.label.to(device), 0
    with in_mode(generator, training=True), _forked(device), torch.enable_grad():
        for number in range(draws):
            rng = BatchRng(mix_seed(generator.seed, number), len(label_B))
            other = BatchRng(mix_seed(generator.seed, number, 1), 1)
            layout = ordering.draw_layout(generator.layout, other)
            tokens = tokens_of(generator, batch, layout)
            with counting_flops() as counter:
                loss = generator.objective.loss(generator, tokens, label_B, rng, layout)
                # Gives gradients without adding them to those of the weights.
                torch.autograd.grad(loss, weights, allow_unused=True)
            total += counter.get_total_flops()
    return total / draws


# ---- counted


def _counts(generator: Generator, one: Callable[..., Samples]) -> dict[str, float]:
    """Of drawing an image."""
    steps, passes = 0, 0

    def on_step(partial: Partial) -> None:
        nonlocal steps
        steps += 1

    def on_pass(module: nn.Module, given: object, out: object) -> None:
        nonlocal passes
        passes += 1

    hook = generator.backbone.register_forward_hook(on_pass)
    try:
        with counting_flops() as counter, _counting_looks(generator) as looks:
            one(on_step=on_step)
    finally:
        hook.remove()
    counts: dict[str, float] = {"decoding_steps": steps, "network_evaluations": passes}
    if looks:
        counts["head_evaluations"] = sum(looks.values())
    return {**counts, "flops_per_image": counter.get_total_flops()}


@contextmanager
def _counting_looks(generator: Generator) -> Iterator[dict[Denoiser, int]]:
    """How often each denoiser of the head looks meanwhile; those that are the backbone are counted as its passes."""
    denoisers = [module for module in generator.head.modules() if isinstance(module, Denoiser)]
    looks = {denoiser: 0 for denoiser in denoisers if not denoiser.by_backbone}

    def counted(denoiser: Denoiser) -> Callable[[Predict, Step], Denoise]:
        look = denoiser.look

        def look_counted(predict: Predict, step: Step) -> Denoise:
            denoise = look(predict, step)

            def denoise_counted(noisy_BMKC: Tensor, time_BMK: Tensor) -> Denoised:
                looks[denoiser] += 1
                return denoise(noisy_BMKC, time_BMK)

            return denoise_counted

        return look_counted

    for denoiser in looks:
        # In front of its class's own.
        vars(denoiser)["look"] = counted(denoiser)
    try:
        yield looks
    finally:
        for denoiser in looks:
            del vars(denoiser)["look"]


# ---- timed


def _seconds(run: Callable[[], object], device: torch.device) -> list[float]:
    """How long it takes, a few times; once where it takes long."""
    seconds: list[float] = []
    while len(seconds) < _TIMES and max(seconds, default=0.0) <= _LONG:
        _wait(device)
        start = time.perf_counter()
        run()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


@contextmanager
def _forked(device: torch.device) -> Iterator[None]:
    """PyTorch's own randomness is afterwards as it was before."""
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            yield
    else:
        with torch.random.fork_rng(devices=[device.index or 0], device_type=device.type):
            yield


# ---- told


def _asked(protocol: Protocol, seed: int) -> Protocol:
    """What counts depend on: how images are drawn; not which weights they are drawn with."""
    return dataclasses.replace(
        protocol,
        num_images=None,
        num_real=None,
        feature_network=None,
        feature_hash=None,
        seed=seed,
        batch_size=1,
        ema=None,
        dtype=None,
        device=None,
        interval=None,
        machine=None,
    )


def _figure(name: str, value: float, protocol: Protocol) -> Figure:
    return Figure(value, meaning(name).unit, protocol)


def _median(name: str, values: list[float], protocol: Protocol) -> Figure:
    unit, value = meaning(name).unit, statistics.median(values)
    if len(values) < 2:
        return Figure(value, unit, protocol)
    told = dataclasses.replace(protocol, interval=f"smallest and largest of {len(values)}")
    return Figure(value, unit, told, min(values), max(values))
