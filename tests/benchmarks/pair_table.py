"""Orderings and heads side by side: python -m tests.benchmarks.pair_table RUN RUN ... [--picture FILE].

The runs must be of one embedded data set, and mean something only beside runs of as many steps, of the same backbone.
Losses are compared within one family of heads and one tokenizer only, so each row names its own. Images are compared
with the test images in the features of the shipped classifier; images a second are told by the steps of the head.
The picture holds a block per run, one line per class.

Letters: B images, C channels, H and W sides.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

import arlab
from arlab.data.emoji import Emoji
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.memory import MemoryData
from arlab.data.stream import Images
from arlab.features.classifier import shipped
from arlab.generators.generator import Generator
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.flow import FlowHead
from arlab.heads.noise_levels import NoiseLevels, evenly
from arlab.heads.time_grids import EvenTimes
from arlab.images import Picture, image_grid, save_png, to_uint8
from arlab.metrics.generation import evaluate_generation
from arlab.metrics.kernel import kernel_distance
from arlab.metrics.protocol import Protocol
from arlab.rng import BatchRng
from arlab.runs.files import write_text
from arlab.trained import Trained

_BATCH = 100
_PER_CLASS = 8
_TIMED = 64


@dataclass(frozen=True)
class Row:
    """One line of the table; ``loss`` is told in ``unit``, per token."""

    run: str
    ordering: str
    head: str
    psnr: float
    parameters: int
    loss: float
    unit: str
    agreement: float
    fid: float
    fid_name: str
    kid: float
    kid_std: float
    recall: float
    images_per_second: dict[str, float]

    def __str__(self) -> str:
        speeds = ", ".join(f"{speed:.0f}{steps and f' ({steps})'}" for steps, speed in self.images_per_second.items())
        kid = f"{1000 * self.kid:.1f} ± {1000 * self.kid_std:.1f}"
        return (
            f"| {self.ordering} | {self.head} | {self.psnr:.1f} | {self.parameters / 1e6:.2f} | {self.loss:.3f} "
            f"{self.unit} | {self.agreement:.3f} | {self.fid:.2f} | {kid} | "
            f"{self.recall:.3f} | {speeds} |"
        )


def head_line(fid_name: str) -> str:
    """The first two lines of the table."""
    return (
        f"| ordering | head | tokenizer's PSNR | M parameters | validation | agreement | {fid_name} | KID x 1000 | "
        "recall | images/s (head steps) |\n|---|---|---|---|---|---|---|---|---|---|"
    )


def row_of(run: str, guidance_scale: float, num_images: int, head_steps: list[int]) -> Row:
    """Measure a run."""
    trained = arlab.load(run)
    generator = trained.model
    assert isinstance(generator, Generator)
    data = embedded_data(trained)
    validation, real = data.parts.validation, data.parts.test
    loss, unit = _loss(generator, validation)
    image_BCHW = validation.batch(torch.arange(len(validation)), known=True).image
    psnr = float(peak_signal_noise_ratio((trained.reconstruct(image_BCHW) + 1) / 2, (image_BCHW + 1) / 2, 1.0))
    drawn = trained.sample(num_images=num_images, guidance_scale=guidance_scale, seed=0, batch_size=_BATCH)
    made = Images(to_uint8(drawn.images), drawn.labels)
    network = shipped(data.facts.channels).load()
    figures = evaluate_generation(network, real, made, Protocol(split="test", guidance_scale=guidance_scale, seed=0))
    kid, kid_std = kernel_distance(network.read(real.pixel_NCHW).feature_BD, network.read(made.pixel_NCHW).feature_BD)
    return Row(
        run=run,
        ordering=type(generator.ordering).__name__,
        head=type(generator.head).__name__,
        psnr=psnr,
        parameters=sum(weight.numel() for weight in generator.parameters()),
        loss=loss,
        unit=unit,
        agreement=figures.agreement,
        fid=figures.frechet,
        fid_name=figures.fid_name,
        kid=kid,
        kid_std=kid_std,
        recall=figures.recall,
        images_per_second=_speeds(trained, generator, guidance_scale, head_steps),
    )


def embedded_data(trained: Trained) -> MemoryData:
    """The embedded data set that a run is of."""
    for data in (FashionMNIST(), Emoji()):
        if trained.facts.contradiction(data.facts) is None:
            return data
    raise SystemExit(f"RUN: is of {trained.facts.source}, expected an embedded data set")


@torch.no_grad()
def _loss(generator: Generator, images: Images) -> tuple[float, str]:
    """Nats a token where they are known or bounded, else the training loss; and which it is."""
    total, unit, count = 0.0, "", 0
    for number, index_B in enumerate(torch.arange(len(images)).split(_BATCH)):
        batch = images.batch(index_B, known=True)
        tokens = generator.tokenizer.encode(batch.image)
        log_prob = generator.log_prob(tokens, batch.label)
        if log_prob is not None:
            total, unit = total - float(log_prob.sum()), "nats"
        else:
            bound_B = generator.bound(tokens, batch.label, BatchRng(number, len(index_B)))
            if bound_B is None:
                loss = generator.objective.loss(
                    generator, tokens, batch.label, BatchRng(number, len(index_B)), generator.layout
                )
                total, unit = total + float(loss) * len(index_B) * generator.layout.num_tokens, "loss"
            else:
                total, unit = total - float(bound_B.sum()), "nats at most"
        count += len(index_B)
    return total / count / generator.layout.num_tokens, unit


def _speeds(trained: Trained, generator: Generator, guidance_scale: float, head_steps: list[int]) -> dict[str, float]:
    """Images a second by the steps of the head, where it has steps."""
    stepping = isinstance(generator.head, (FlowHead, DiffusionHead))
    speeds = {}
    for number in head_steps if stepping else [0]:
        with _head_steps(generator, number):
            start = time.perf_counter()
            trained.sample(num_images=_TIMED, guidance_scale=guidance_scale, seed=1, batch_size=_TIMED)
            speeds[str(number or "")] = _TIMED / (time.perf_counter() - start)
    return speeds


@contextmanager
def _head_steps(generator: Generator, number: int) -> Iterator[None]:
    """The head looks so many times meanwhile; 0 leaves it as it is."""
    head = generator.head
    if isinstance(head, FlowHead) and number:
        kept, head.times = head.times, EvenTimes(num_steps=number)
        yield
        head.times = kept
    elif isinstance(head, DiffusionHead) and number:
        betas, kept_levels = head.schedule.betas(), head.sampled
        head.sampled = NoiseLevels(betas, evenly(len(betas), number))
        yield
        head.sampled = kept_levels
    else:
        yield


def block(run: str, guidance_scale: float) -> Picture:
    """Images of a run, a line per class."""
    trained = arlab.load(run)
    number = len(trained.facts.class_names)
    drawn = trained.sample(num_images=_PER_CLASS * number, guidance_scale=guidance_scale, seed=3)
    return image_grid(drawn.images.unflatten(0, (_PER_CLASS, number)).flatten(0, 1), columns=number, scale=1)


def main() -> None:
    """Print the table as Markdown; write figures and the picture where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", nargs="+", help="run folder, experiment folder, checkpoint or export")
    parser.add_argument("--guidance_scale", type=float, default=2.0)
    parser.add_argument("--num_images", type=int, default=1000)
    parser.add_argument("--head_steps", type=int, nargs="+", default=[10, 25, 100])
    parser.add_argument("--picture", type=Path, help="PNG file: images of each run, a block of lines per run")
    parser.add_argument("--json", type=Path, help="the file to write figures to")
    arguments = parser.parse_args()
    rows = []
    for run in arguments.run:
        rows.append(row_of(run, arguments.guidance_scale, arguments.num_images, arguments.head_steps))
        if len(rows) == 1:
            print(head_line(rows[0].fid_name))
        print(rows[-1], flush=True)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    if arguments.picture is not None:
        blocks = [block(run, arguments.guidance_scale) for run in arguments.run]
        gap = np.full((12, blocks[0].shape[1], 3), 255, dtype=np.uint8)
        save_png(np.concatenate([part for each in blocks for part in (each, gap)][:-1]), arguments.picture)


if __name__ == "__main__":
    main()
