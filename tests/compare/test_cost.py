"""What sampling and training cost, against counts and sums done by hand.

Letters: N tokens, S slots fed, D width, L layers, V codebook size.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.backbones.attention import Attention
from arlab.backbones.transformer import Transformer
from arlab.compare.cost import sampling_cost, training_flops
from arlab.compare.flops import counting_flops
from arlab.conformance.pairs import Tried
from arlab.conformance.toy import toy_generator
from arlab.data.data import Batch
from arlab.generators.generator import Generator
from arlab.generators.guidance import ConstantGuidance
from arlab.generators.sampler import Partial, Sampler, Samples
from arlab.heads.denoising import DenoisingHead
from arlab.heads.discrete import DiscreteHead
from arlab.heads.flow import FlowHead
from arlab.heads.time_grids import EvenTimes
from arlab.metrics.figure import Figure, meaning
from arlab.metrics.protocol import Protocol
from arlab.orderings.masked import Masked
from arlab.orderings.next_scale import NextScale
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Ordering
from arlab.orderings.raster import Raster
from arlab.orderings.scale_schedules import RandomScales
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Kind, Layout
from tests.conformance.test_laws import Rows
from tests.pairs.tiny_pairs import WORKING, named, tiny_pair
from tests.tiny import GrayLevels, tiny_backbone, tiny_generator

PROTOCOL = Protocol("test", guidance_scale=1.0, temperature=1.0, feature_network="Some", num_images=5, num_real=7)
LABELS = torch.tensor([1, 0])
WIDTH, LAYERS = 16, 2
GRID = Layout(((4, 4),))


class Mixing(GrayLevels):
    """Its decoder is a product of N numbers with an (N, N) matrix."""

    def decode(self, tokens: Tensor) -> Tensor:
        number = self.layout.num_tokens
        mixed_BN = self.vectors(tokens)[..., 0] @ torch.eye(number)
        return mixed_BN.unflatten(1, self.layout.shapes[0])[:, None]


def mixing() -> Generator:
    return Generator(
        tokenizer=Mixing(), ordering=Raster(), backbone=tiny_backbone(), head=DiscreteHead(zero_init=False)
    ).eval()


def measured(generator: Generator, guidance_scale: float = 1.0, batch_size: int = 2) -> dict[str, Figure]:
    sampler = Sampler(guidance=ConstantGuidance(guidance_scale=guidance_scale))
    return sampling_cost(generator, sampler, LABELS, batch_size=batch_size, seed=3, protocol=PROTOCOL)


def linear_weights(*modules: nn.Module) -> int:
    """The weights that a row of numbers passes, each at two operations."""
    parts = (part for module in modules for part in module.modules())
    return sum(part.weight.numel() for part in parts if isinstance(part, nn.Linear))


def flow(ordering: Ordering, **options: Any) -> Generator:
    return toy_generator(ordering, GRID, head=FlowHead(times=EvenTimes(num_steps=7), **options))


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where times do not matter they are taken once."""
    monkeypatch.setattr("arlab.compare.cost._TIMES", 1)


# ---- counts


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize(
    ("ordering", "steps"), [(Raster(), 6), (Rows(), 2), (Masked(set_sizes=CosineSizes(num_steps=3)), 3)]
)
def test_steps_are_counted_and_each_is_a_pass(ordering: Ordering, steps: int) -> None:
    figures = measured(tiny_generator(ordering))
    assert figures["decoding_steps"].value == steps
    assert figures["network_evaluations"].value == steps
    assert "head_evaluations" not in figures
    # Guidance doubles the rows of a pass, not their number.
    assert measured(tiny_generator(ordering), 2.0)["network_evaluations"].value == steps


@pytest.mark.usefixtures("once")
def test_a_denoiser_of_the_head_is_counted_apart() -> None:
    figures = measured(flow(Rows()))
    assert figures["decoding_steps"].value == 4
    assert figures["network_evaluations"].value == 4
    assert figures["head_evaluations"].value == 4 * 7


@pytest.mark.usefixtures("once")
def test_a_backbone_that_denoises_is_counted_at_every_look() -> None:
    figures = measured(flow(NextX()))
    assert figures["decoding_steps"].value == 4
    assert figures["network_evaluations"].value == 4 * 7
    assert "head_evaluations" not in figures


@pytest.mark.usefixtures("once")
def test_counting_leaves_no_trace() -> None:
    generator = flow(Rows())
    before = dict(vars(generator.head.denoiser))
    hooks = len(generator.backbone._forward_hooks)
    first = measured(generator)
    assert dict(vars(generator.head.denoiser)) == before
    assert len(generator.backbone._forward_hooks) == hooks
    assert measured(generator)["head_evaluations"] == first["head_evaluations"]


# ---- operations


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
def test_attention_on_a_cpu_is_counted(mask: bool, gradients: bool) -> None:
    """q kᵀ and p v, each 2 Q K E a head; backward these are undone by two products each, and p is made again."""
    q, k, v = (torch.randn(2, 3, rows, 8, requires_grad=gradients) for rows in (5, 7, 7))
    with counting_flops() as counter:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(5, 7, dtype=torch.bool) if mask else None)
        if gradients:
            torch.autograd.grad(out.sum(), (q, k, v))
    product = 2 * 2 * 3 * 5 * 7 * 8
    assert counter.get_total_flops() == product * (7 if gradients else 2)


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_operations_of_a_transformer_that_keeps_keys_and_values(guidance_scale: float) -> None:
    """One slot a step: 2 operations per weight; attention to the K slots so far 4 K D a layer. Guidance: twice all."""
    generator = tiny_generator()
    tokens = generator.layout.num_tokens
    weights = linear_weights(generator.backbone, generator.head)
    attention = sum(4 * slots * WIDTH * LAYERS for slots in range(1, tokens + 1))
    expected = 2 * tokens * weights + attention
    rows = 1 if guidance_scale == 1 else 2
    assert measured(generator, guidance_scale)["flops_per_image"].value == rows * expected


@pytest.mark.usefixtures("once")
def test_operations_without_a_cache_are_those_of_all_slots_so_far() -> None:
    generator = tiny_generator()
    tokens = generator.layout.num_tokens
    sampler = Sampler(use_cache=False)
    figures = sampling_cost(generator, sampler, LABELS, batch_size=1, seed=0, protocol=PROTOCOL)
    fed = [*range(1, tokens + 1)]
    of_body = sum(2 * slots * linear_weights(generator.backbone) + 4 * slots**2 * WIDTH * LAYERS for slots in fed)
    assert figures["flops_per_image"].value == of_body + 2 * tokens * linear_weights(generator.head)


@pytest.mark.usefixtures("once")
def test_the_decoder_of_the_tokenizer_is_counted_once_also_when_guided() -> None:
    generator, other = mixing(), tiny_generator()
    decoder = 2 * 6 * 6
    for guidance_scale in (1.0, 3.0):
        one, without = (measured(each, guidance_scale)["flops_per_image"].value for each in (generator, other))
        assert one - without == decoder


@pytest.mark.usefixtures("once")
def test_operations_of_a_head_that_looks_again_and_again() -> None:
    """Each look is a pass of the MLP over the tokens of a step, and guidance takes two."""
    looks = {number: measured(flow_of(number))["flops_per_image"].value for number in (1, 4)}
    each = (looks[4] - looks[1]) / 3
    head = flow_of(1).head
    assert each == 2 * 16 * linear_weights(head.denoiser)
    guided = {number: measured(flow_of(number), 2.0)["flops_per_image"].value for number in (1, 2)}
    assert guided[2] - guided[1] == 2 * each


def flow_of(looks: int) -> Generator:
    return toy_generator(Rows(), GRID, head=FlowHead(times=EvenTimes(num_steps=looks)))


# ---- training


def batch_of(images: int, generator: Generator) -> Batch:
    channels, (height, width) = generator.facts.channels, generator.facts.image_size
    image_BCHW = torch.rand(images, channels, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Batch(image_BCHW, torch.arange(images) % 2, torch.arange(images))


@pytest.mark.parametrize("images", [1, 5])
def test_operations_of_a_training_step(images: int) -> None:
    """Forward 2 per weight and row, backward 4; attention 4 S² D a layer, backward 10."""
    generator = tiny_generator()
    slots = generator.layout.num_tokens
    weights = linear_weights(generator.backbone, generator.head)
    attention = 14 * slots**2 * WIDTH * LAYERS
    assert training_flops(generator, batch_of(images, generator)) == images * (6 * slots * weights + attention)


def test_the_tokenizer_is_no_part_of_a_training_step() -> None:
    class Costly(GrayLevels):
        def encode(self, image_BCHW: Tensor) -> Tensor:
            number = self.layout.num_tokens
            return super().encode((image_BCHW.flatten(1) @ torch.eye(number)).reshape(image_BCHW.shape))

    cheap = tiny_generator()
    torch.manual_seed(0)
    costly = Generator(tokenizer=Costly(), ordering=Raster(), backbone=tiny_backbone(), head=DiscreteHead())
    batch = batch_of(3, cheap)
    expected = training_flops(cheap, batch)
    assert training_flops(costly, batch) == expected
    # Nor does it matter whether tokens were made before.
    tokens = cheap.tokenizer.encode(batch.image)
    assert training_flops(cheap, batch._replace(image=torch.zeros(3, 0), tokens=tokens)) == expected


def test_a_training_step_that_is_measured_leaves_everything_as_it_was() -> None:
    torch.manual_seed(0)
    backbone = Transformer(width=16, num_layers=1, attention=Attention(num_heads=2), dropout=0.5)
    generator = Generator(tokenizer=GrayLevels(), ordering=Raster(), backbone=backbone, head=DiscreteHead()).eval()
    generator.head.train()
    for number, weight in enumerate(generator.parameters()):
        weight.grad = None if number % 2 else torch.full_like(weight, 3.0)
    weights = {name: value.clone() for name, value in generator.state_dict().items()}
    modes = [module.training for module in generator.modules()]
    state = torch.get_rng_state()
    with torch.no_grad():
        assert training_flops(generator, batch_of(2, generator)) > 0
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in generator.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in generator.state_dict().items())
    for number, weight in enumerate(generator.parameters()):
        assert weight.grad is None if number % 2 else bool((weight.grad == 3).all())


def test_steps_that_depend_on_what_is_drawn_are_averaged() -> None:
    """All tokens are fed, masked or not; what is drawn is how many are read, and so what the head costs."""
    generator = tiny_generator(Masked(), grid=(4, 4))
    batch = batch_of(2, generator)
    first = training_flops(generator, batch)
    assert training_flops(generator, batch) == first
    slots, weights = 17, linear_weights(generator.backbone)
    body = 2 * (6 * slots * weights + 14 * slots**2 * WIDTH * LAYERS)
    of_token = 2 * 6 * linear_weights(generator.head)
    masked = (first - body) / of_token
    assert 0.7 * 16 <= masked <= 16
    assert masked * 8 == pytest.approx(round(masked * 8))


def test_layouts_that_are_drawn_are_averaged_over() -> None:
    """Half the cells each way cost about a quarter: the mean lies between that of few scales and that of all."""
    layout = Layout(((1, 1), (2, 2), (4, 4)))
    always = toy_generator(NextScale(schedule=RandomScales(ranges=[(1, 1, 1), (4, 4, 1)], default_share=1.0)), layout)
    never = toy_generator(NextScale(schedule=RandomScales(ranges=[(1, 1, 1), (4, 4, 1)], default_share=0.0)), layout)
    mixed = toy_generator(NextScale(schedule=RandomScales(ranges=[(1, 1, 1), (4, 4, 1)], default_share=0.5)), layout)
    batch = batch_of(2, always)
    most, least, mean = (training_flops(each, batch) for each in (always, never, mixed))
    assert most == training_flops(toy_generator(NextScale(), layout), batch)
    assert least < mean < most
    # Eight draws, each of the one or of the other.
    share = 8 * (mean - least) / (most - least)
    assert share == pytest.approx(round(share))


# ---- time, memory, weights


class Slow(Sampler):
    """Takes known times of a clock that is not real."""

    def __init__(self, seconds: Sequence[float], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.left = list(seconds)
        self.now = 0.0
        self.batches: list[int] = []
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def sample(self, generator: Generator, labels: Tensor, **named: Any) -> Samples:
        self.batches.append(len(labels))
        self.now += self.left.pop(0)
        return super().sample(generator, labels, **named)


def test_speed_is_the_median_of_six_after_one_that_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Slow([99, 50, 8, 8, 4, 4, 2, 2, 77, 0.5, 0.25, 1, 0.25, 0.5, 1], monkeypatch)
    figures = sampling_cost(tiny_generator(), sampler, LABELS, batch_size=4, seed=0, protocol=PROTOCOL)
    assert sampler.batches == [1, *[4] * 7, *[1] * 7]
    speed, latency = figures["images_per_second"], figures["latency"]
    assert (speed.low, speed.value, speed.high) == (0.5, 1.0, 2.0)
    assert (latency.low, latency.value, latency.high) == (0.25, 0.5, 1.0)
    assert speed.protocol.interval == latency.protocol.interval == "smallest and largest of 6"
    assert (speed.protocol.batch_size, latency.protocol.batch_size) == (4, 1)
    assert latency.unit == "s"


def test_what_takes_long_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Slow([99, 50, 40, 77, 30], monkeypatch)
    figures = sampling_cost(tiny_generator(), sampler, LABELS, batch_size=4, seed=0, protocol=PROTOCOL)
    assert sampler.batches == [1, 4, 4, 1, 1]
    speed = figures["images_per_second"]
    assert (speed.low, speed.value, speed.high, speed.protocol.interval) == (None, 0.1, None, None)
    assert figures["latency"].value == 30


@pytest.mark.usefixtures("once")
def test_memory_grows_with_the_batch_and_is_the_same_when_measured_again() -> None:
    generator = tiny_generator()
    two, again, eight = (measured(generator, batch_size=number)["peak_memory"].value for number in (2, 2, 8))
    assert two == again
    assert 3 * two < eight < 4 * two
    assert measured(generator, 2.0)["peak_memory"].value > 1.8 * two
    # Keys and values of all slots, of both layers, are alive at the end.
    slots = generator.layout.num_tokens + 1
    assert eight * 1e6 > 8 * 2 * LAYERS * (slots - 1) * WIDTH * 4


@pytest.mark.usefixtures("once")
def test_trained_weights_are_counted_and_those_of_the_tokenizer_are_not() -> None:
    generator = tiny_generator()
    count = sum(weight.numel() for weight in generator.parameters())
    assert measured(generator)["parameters"].value == count
    generator.conditioner.requires_grad_(False)
    fewer = count - sum(weight.numel() for weight in generator.conditioner.parameters())
    assert measured(generator)["parameters"].value == fewer


def test_protocols_say_what_each_figure_depends_on() -> None:
    figures = measured(tiny_generator(), batch_size=3)
    for name, figure in figures.items():
        assert figure.unit == meaning(name).unit
        assert figure.protocol.feature_network is None
        assert figure.protocol.num_real is None
        assert math.isfinite(figure.value)
    counted = figures["flops_per_image"].protocol
    assert (counted.device, counted.machine, counted.seed) == (None, None, 3)
    assert counted.guidance_scale == 1.0
    assert figures["parameters"].protocol == Protocol("test")
    memory, speed = figures["peak_memory"].protocol, figures["images_per_second"].protocol
    assert dataclasses.replace(speed, interval=None) == memory
    assert (memory.batch_size, memory.device, memory.dtype) == (3, "cpu", "float32")
    assert memory.machine is not None
    assert memory.machine.endswith(f"{torch.get_num_threads()} threads")


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        measured(tiny_generator(), batch_size=0)
    with pytest.raises(ValueError, match="labels"):
        sampling_cost(tiny_generator(), Sampler(), LABELS[:0], batch_size=1, seed=0, protocol=PROTOCOL)


# ---- every pair


@pytest.mark.slow
@pytest.mark.parametrize("cell", WORKING, ids=named)
def test_every_pair_can_be_measured(cell: Tried) -> None:
    generator = tiny_pair(cell)
    drawn: list[Partial] = []
    Sampler().sample(generator, LABELS[:1], seeds=[0], on_step=drawn.append)
    figures = measured(generator)
    assert all(figure.value > 0 for figure in figures.values())
    steps, passes = figures["decoding_steps"].value, figures["network_evaluations"].value
    assert steps == len(drawn) == drawn[-1].progress.steps
    by_backbone = Kind.NOISY in generator.ordering.carries
    assert passes >= 3 * steps if by_backbone else passes == steps
    assert ("head_evaluations" in figures) == (isinstance(generator.head, DenoisingHead) and not by_backbone)
    assert training_flops(generator, batch_of(2, generator)) > 0
