"""How likely images are: what validation logs, told step by step and with intervals.

Letters: B images of a batch, I images, N tokens of one, S decoding steps.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from arlab.compare.likelihood import likelihood
from arlab.conformance.pairs import Tried
from arlab.conformance.toy import toy_generator
from arlab.data.data import Batch, Part
from arlab.data.stream import EvaluationBatches, Images
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.heads.discrete import DiscreteHead
from arlab.heads.flow import FlowHead
from arlab.metrics.figure import meaning
from arlab.metrics.protocol import Protocol
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.hilbert import Hilbert
from arlab.orderings.masked import Masked
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.ordering import Ordering
from arlab.orderings.orders import Order, Walk
from arlab.orderings.random_causal import RandomCausal
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.raster import Raster
from arlab.orderings.set_sizes import CosineSizes, LinearSizes
from arlab.orderings.step import Layout, Progress
from arlab.rng import Rng
from arlab.tokens import TokenSpace
from tests import tiny_runs
from tests.conformance.test_laws import Rows
from tests.pairs.tiny_pairs import WORKING, named, tiny_pair
from tests.tiny import tiny_generator

PROTOCOL = Protocol("test", guidance_scale=2.0, feature_network="Some", seed=0)


def pictures(count: int, side: tuple[int, int] = (4, 4), classes: int = 2) -> Images:
    rng = torch.Generator().manual_seed(1)
    pixel_NCHW = torch.randint(0, 256, (count, 1, *side), generator=rng, dtype=torch.uint8)
    return Images(pixel_NCHW, torch.arange(count) % classes)


def validated(generator: Generator, part: Part, batch_size: int, folder: Path) -> dict[str, float]:
    """What ``arlab validate`` logs."""
    trainer = L.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(EvaluationBatches(part, batch_size=batch_size), batch_size=None)
    (figures,) = trainer.validate(generator, loader, verbose=False)
    return {name.removeprefix("val/"): value for name, value in figures.items()}


PART = pictures(6)
FEW = WORKING[::8]


# ---- the figures


@pytest.mark.parametrize("cell", FEW, ids=named)
def test_figures_are_those_of_validation(cell: Tried, tmp_path: Path) -> None:
    agrees(cell, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [cell for cell in WORKING if cell not in FEW], ids=named)
def test_figures_of_every_pair_are_those_of_validation(cell: Tried, tmp_path: Path) -> None:
    agrees(cell, tmp_path)


def agrees(cell: Tried, folder: Path) -> None:
    generator, part = tiny_pair(cell), pictures(5, classes=3)
    found = likelihood(generator, part, PROTOCOL, batch_size=1)
    logged = validated(generator, part, 1, folder)
    logged.pop("loss")
    assert {name: figure.value for name, figure in found.figures.items()} == pytest.approx(logged, rel=1e-4)
    assert sum(found.tokens_by_step) == generator.layout.num_tokens
    exact = "nats_per_image" in logged
    assert (found.nats_by_step is not None) == exact
    if found.nats_by_step is not None:
        again = sum(n * nats for n, nats in zip(found.tokens_by_step, found.nats_by_step, strict=True))
        assert again == pytest.approx(found.figures["nats_per_image"].value, rel=1e-9)


def test_bits_per_dimension_of_pixels(tmp_path: Path) -> None:
    generator, part = tiny_runs.tiny_generator(), pictures(7, (4, 3), 3)
    found = likelihood(generator, part, PROTOCOL, batch_size=3).figures
    assert {name: each.value for name, each in found.items()} == pytest.approx(
        {k: v for k, v in validated(generator, part, 3, tmp_path).items() if k != "loss"}, rel=1e-5
    )
    bits, nats = found["bits_per_dim"], found["nats_per_image"]
    assert bits.low is not None
    assert nats.low is not None
    for told, of in ((bits.value, nats.value), (bits.low, nats.low)):
        assert told == pytest.approx(of / (12 * math.log(2)) + math.log2(256 / 8))


def test_exact_figures_do_not_depend_on_batches() -> None:
    generator, part = tiny_generator(Rows()), pictures(7, (2, 3))
    by_one, by_many = (likelihood(generator, part, PROTOCOL, batch_size=size) for size in (1, 100))
    for name, figure in by_one.figures.items():
        other = by_many.figures[name]
        assert (figure.value, figure.low, figure.high) == pytest.approx((other.value, other.low, other.high))
        assert figure.protocol == other.protocol
    assert by_one.nats_by_step == pytest.approx(by_many.nats_by_step)


def test_the_interval_of_exact_nats_is_that_of_a_mean_over_images() -> None:
    generator, part = tiny_generator(), pictures(50, (2, 3))
    batch = part.batch(torch.arange(50), known=False)
    log_prob = generator.log_prob(generator.tokenizer.encode(batch.image), batch.label)
    nats_I = -log_prob.double().sum(1)
    figure = likelihood(generator, part, PROTOCOL, batch_size=20).figures["nats_per_image"]
    half = 1.96 * float(nats_I.std()) / math.sqrt(50)
    assert figure.value == pytest.approx(float(nats_I.mean()))
    assert (figure.low, figure.high) == pytest.approx((figure.value - half, figure.value + half))
    assert figure.protocol.interval == "value ± 1.96 standard errors over images"
    one = likelihood(generator, pictures(1, (2, 3)), PROTOCOL, batch_size=20).figures["nats_per_token"]
    assert (one.low, one.high, one.protocol.interval) == (None, None, None)


# ---- step by step


def by_hand(generator: Generator, part: Part, groups: list[list[int]]) -> list[float]:
    batch = part.batch(torch.arange(len(part)), known=False)
    log_prob_IN = generator.log_prob(generator.tokenizer.encode(batch.image), batch.label)
    return [-float(log_prob_IN[:, group].mean()) for group in groups]


@pytest.mark.parametrize(
    ("ordering", "groups"),
    [
        (Raster(), [[0], [1], [2], [3], [4], [5], [6], [7]]),
        (Rows(), [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (NextNeighbor(), [[0], [1, 4], [2, 5], [3, 6], [7]]),
    ],
    ids=lambda case: type(case).__name__,
)
def test_each_step_has_the_tokens_it_draws(ordering: Ordering, groups: list[list[int]]) -> None:
    generator, part = tiny_generator(ordering, grid=(2, 4)), pictures(5, (2, 4))
    found = likelihood(generator, part, PROTOCOL, batch_size=2)
    assert found.tokens_by_step == tuple(len(group) for group in groups)
    assert found.nats_by_step == pytest.approx(by_hand(generator, part, groups), rel=1e-5)


class ToAndFro(Order):
    """Every second sample from the last token to the first: orders that differ, but are not drawn."""

    def __init__(self) -> None:
        pass

    def tokens(self, layout: Layout, rng: Rng) -> Tensor:
        forwards = torch.arange(layout.num_tokens)
        return torch.stack([forwards.flip(0) if sample % 2 else forwards for sample in range(rng.batch)])


def toy(ordering: Ordering) -> Generator:
    head = DiscreteHead(zero_init=False, init_std=0.5)
    return toy_generator(ordering, Layout(((2, 4),)), head=head, space=TokenSpace(3, 4))


def test_steps_of_several_tokens_of_a_walk() -> None:
    generator, part = toy(RandomInstructed(order=Walk(traversal=Hilbert()), set_sizes=LinearSizes(num_steps=3))), PART
    walk = torch.cat(Hilbert().groups((2, 4)))
    sizes = LinearSizes(num_steps=3).counts(8)
    found = likelihood(generator, part, PROTOCOL, batch_size=2)
    assert found.tokens_by_step == tuple(sizes)
    groups = [group.tolist() for group in walk.split(sizes)]
    assert found.nats_by_step == pytest.approx(by_hand(generator, part, groups), rel=1e-5)


@pytest.mark.parametrize("ordering", [RandomCausal(order=ToAndFro()), RandomInstructed(order=ToAndFro())])
def test_orders_may_differ_from_image_to_image(ordering: Ordering) -> None:
    generator = toy(ordering)
    found = likelihood(generator, PART, PROTOCOL, batch_size=2)
    batch = PART.batch(torch.arange(6), known=False)
    log_prob_IN = generator.log_prob(generator.tokenizer.encode(batch.image), batch.label).clone()
    log_prob_IN[1::2] = log_prob_IN[1::2].flip(1)
    assert found.tokens_by_step == (1,) * 8
    assert found.nats_by_step == pytest.approx((-log_prob_IN.mean(0)).tolist(), rel=1e-5)


# ---- bounds


def masked() -> Generator:
    return tiny_generator(Masked(set_sizes=CosineSizes(num_steps=3)))


def test_a_bound_is_told_as_one(tmp_path: Path) -> None:
    generator, part = masked(), pictures(70, (2, 3))
    found = likelihood(generator, part, PROTOCOL, batch_size=64)
    assert set(found.figures) == {"nats_per_token_bound", "nats_per_image_bound"}
    assert found.nats_by_step is None
    assert sum(found.tokens_by_step) == 6
    figure = found.figures["nats_per_image_bound"]
    # Smaller batches than were allowed, so that there are enough of them to tell how far they differ.
    assert (figure.protocol.batch_size, figure.protocol.seed) == (2, 0)
    logged = validated(generator, part, 2, tmp_path)
    assert figure.value == pytest.approx(logged["nats_per_image_bound"], rel=1e-5)
    calls: list[None] = []
    assert likelihood(generator, part, PROTOCOL, batch_size=64, on_batch=lambda: calls.append(None)) == found
    assert len(calls) == 2
    other = likelihood(generator, part, dataclasses.replace(PROTOCOL, seed=1), batch_size=64)
    assert other.figures["nats_per_image_bound"].value != figure.value


def test_the_interval_of_a_bound_says_how_far_another_draw_may_be_off() -> None:
    """Over many seeds the mean of all lies within about 19 of 20 intervals; by images alone it would be far fewer."""
    generator, part = masked(), pictures(64, (2, 3))
    protocols = [dataclasses.replace(PROTOCOL, seed=seed) for seed in range(30)]
    drawn = [likelihood(generator, part, protocol, batch_size=64).figures for protocol in protocols]
    figures = [each["nats_per_image_bound"] for each in drawn]
    mean = sum(figure.value for figure in figures) / len(figures)
    spread = math.sqrt(sum((figure.value - mean) ** 2 for figure in figures) / (len(figures) - 1))
    # The images are the same in all draws, so that the interval, which counts them as drawn, is somewhat too wide.
    halves = [(figure.high - figure.low) / 2 for figure in figures]
    assert 1.96 * spread < 1.2 * sum(halves) / len(halves)
    inside = sum(figure.low <= mean <= figure.high for figure in figures)
    assert inside >= 0.85 * len(figures)


@pytest.mark.parametrize(
    "generator",
    [
        tiny_generator(Masked(choice=ConfidenceChoice(), set_sizes=CosineSizes(num_steps=3))),
        toy_generator(Rows(), Layout(((2, 3),)), head=FlowHead(bound_looks=0)),
    ],
    ids=["by confidence", "no looks"],
)
def test_without_likelihood_and_bound_there_are_no_figures(generator: Generator) -> None:
    calls: list[None] = []
    found = likelihood(generator, pictures(5, (2, 3)), PROTOCOL, batch_size=2, on_batch=lambda: calls.append(None))
    assert found.figures == {}
    assert found.nats_by_step is None
    assert sum(found.tokens_by_step) == 6
    assert not calls


# ---- around


@pytest.mark.parametrize("ordering", [Raster(), Rows(), Masked(set_sizes=CosineSizes(num_steps=3)), RandomInstructed()])
def test_tokens_by_step_are_those_of_sampling(ordering: Ordering) -> None:
    generator = tiny_generator(ordering)
    drawn: list[Progress] = []
    Sampler().sample(generator, torch.tensor([0]), seeds=[0], on_step=lambda partial: drawn.append(partial.progress))
    found = likelihood(generator, pictures(2, (2, 3)), PROTOCOL, batch_size=2)
    assert found.tokens_by_step == tuple(progress.drawn - progress.known for progress in drawn)


def test_modes_and_random_numbers_are_left_as_they_were() -> None:
    generator = tiny_generator().train()
    generator.head.eval()
    state, calls = torch.get_rng_state(), []
    found = likelihood(generator, pictures(5, (2, 3)), PROTOCOL, batch_size=2, on_batch=lambda: calls.append(None))
    assert len(calls) == 3
    assert generator.backbone.training
    assert not generator.head.training
    assert torch.equal(torch.get_rng_state(), state)
    again = likelihood(generator.eval(), pictures(5, (2, 3)), PROTOCOL, batch_size=2)
    assert again == found


def test_tokens_that_were_made_before_are_scored_as_they_are() -> None:
    generator, images = tiny_generator(), pictures(5, (2, 3))

    class Made(Part):
        def __len__(self) -> int:
            return 5

        def batch(self, row_B: Tensor, known: bool, epoch: int | None = None) -> Batch:
            batch = images.batch(row_B, known)
            return batch._replace(image=torch.zeros(len(row_B), 0), tokens=generator.tokenizer.encode(batch.image))

    expected = likelihood(generator, images, PROTOCOL, batch_size=2)
    assert likelihood(generator, Made(), PROTOCOL, batch_size=2) == expected


def test_protocols_leave_out_how_images_are_drawn() -> None:
    for generator in (tiny_generator(), masked()):
        for name, figure in likelihood(generator, pictures(5, (2, 3)), PROTOCOL, batch_size=2).figures.items():
            told = figure.protocol
            assert (told.guidance_scale, told.feature_network, told.num_images) == (None, None, 5)
            assert figure.unit == meaning(name).unit


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="images"):
        likelihood(tiny_generator(), pictures(5, (2, 3))[:0], PROTOCOL, batch_size=2)
