"""Generators of several orderings side by side: python -m tests.benchmarks.ordering_table RUN RUN ... --picture FILE.

The runs must be of FashionMNIST, and mean something only beside runs of as many steps, on as much data, of the same
backbone. Nats are compared within one tokenizer only, so each row says how much its tokenizer lets through. The
picture shows how the first images of each run grow: one line per image, its steps from left to right.

Letters: B images, C channels, H and W sides.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

import arlab
from arlab.data.fashion_mnist import FashionMNIST
from arlab.features.classifier import FeatureClassifier, fashion_classifier
from arlab.generators.generator import Generator
from arlab.generators.sampler import Partial
from arlab.images import Picture, image_grid, save_png
from arlab.runs.files import write_text
from arlab.trained import Trained
from tests.benchmarks.generation_figures import generated

_BATCH = 100
_FRAMES = 8


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    run: str
    ordering: str
    psnr: float
    tokens: int
    steps: int
    parameters: int
    nats_per_token: float
    nats_per_image: float
    agreement: float
    fid: float
    recall: float
    images_per_second: float
    seconds_for_one: float

    def __str__(self) -> str:
        return (
            f"| `{self.ordering}` | {self.psnr:.2f} | {self.tokens} | {self.steps} | {self.parameters / 1e6:.2f} | "
            f"{self.nats_per_token:.3f} | {self.nats_per_image:.1f} | {self.agreement:.3f} | {self.fid:.2f} | "
            f"{self.recall:.3f} | {self.images_per_second:.0f} | {1000 * self.seconds_for_one:.0f} |"
        )


_HEAD = """\
| ordering | tokenizer's PSNR | tokens | steps | M parameters | nats/token | nats/image | agreement | FID | recall | \
images/s | ms for one |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def row_of(run: str, network: FeatureClassifier, data: FashionMNIST, guidance_scale: float, num_images: int) -> Row:
    """Measure a run."""
    trained = arlab.load(run)
    generator = trained.model
    assert isinstance(generator, Generator)
    validation = data.parts.validation
    nats, psnr, count = 0.0, 0.0, len(validation)
    for index_B in torch.arange(count).split(_BATCH):
        batch = validation.batch(index_B, known=True)
        log_prob = generator.log_prob(generator.tokenizer.encode(batch.image), batch.label)
        assert log_prob is not None
        nats -= float(log_prob.sum())
    image_BCHW = validation.batch(torch.arange(count), known=True).image
    psnr = float(peak_signal_noise_ratio((trained.reconstruct(image_BCHW) + 1) / 2, (image_BCHW + 1) / 2, 1.0))
    seconds, steps = _one(trained, guidance_scale)
    quality = generated(trained, network, data.parts.test, guidance_scale, num_images, seed=0)
    assert quality.images_per_second is not None
    tokens = generator.layout.num_tokens
    return Row(
        run=run,
        ordering=type(generator.ordering).__name__,
        psnr=psnr,
        tokens=tokens,
        steps=steps,
        parameters=sum(weight.numel() for weight in generator.parameters()),
        nats_per_token=nats / count / tokens,
        nats_per_image=nats / count,
        agreement=quality.figures.agreement,
        fid=quality.figures.frechet,
        recall=quality.figures.recall,
        images_per_second=quality.images_per_second,
        seconds_for_one=seconds,
    )


def _one(trained: Trained, guidance_scale: float) -> tuple[float, int]:
    """Median seconds for one image, and its steps."""
    times, steps = [], 0
    for seed in range(5):
        seen: list[Partial] = []
        start = time.perf_counter()
        trained.sample(num_images=1, guidance_scale=guidance_scale, seed=seed, on_step=seen.append)
        times.append(time.perf_counter() - start)
        steps = len(seen)
    return float(np.median(times)), steps


def growing(run: str, guidance_scale: float, classes: list[str | int]) -> Picture:
    """Images of these classes after evenly spaced steps, one line each."""
    trained = arlab.load(run)
    frames: list[Tensor] = []
    trained.sample(
        classes=classes,
        num_images=len(classes),
        guidance_scale=guidance_scale,
        seed=3,
        on_step=lambda partial: frames.append(partial.preview().cpu()),
    )
    # A run of few steps shows its last image again, so that the lines are equally long.
    chosen = torch.linspace(0, len(frames) - 1, _FRAMES).round().long() if len(frames) > _FRAMES else range(_FRAMES)
    shown = [frames[min(int(index), len(frames) - 1)] for index in chosen]
    return image_grid(torch.stack(shown, 1).flatten(0, 1), columns=_FRAMES, scale=2)


def main() -> None:
    """Print the table as Markdown; write figures and the picture where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", nargs="+", help="run folder, experiment folder, checkpoint or export")
    parser.add_argument("--guidance_scale", type=float, default=2.0)
    parser.add_argument("--num_images", type=int, default=1000)
    parser.add_argument("--classes", nargs="+", default=["sneaker", "dress", "coat"])
    parser.add_argument("--picture", type=Path, help="PNG file: how images grow, a block of lines per run")
    parser.add_argument("--json", type=Path, help="the file to write figures to")
    arguments = parser.parse_args()
    network, data = fashion_classifier(), FashionMNIST()
    print(_HEAD)
    rows = []
    for run in arguments.run:
        rows.append(row_of(run, network, data, arguments.guidance_scale, arguments.num_images))
        print(rows[-1], flush=True)
    if arguments.json is not None:
        write_text(arguments.json, json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    if arguments.picture is not None:
        blocks = [growing(run, arguments.guidance_scale, arguments.classes) for run in arguments.run]
        gap = np.full((12, blocks[0].shape[1], 3), 255, dtype=np.uint8)
        save_png(np.concatenate([part for block in blocks for part in (block, gap)][:-1]), arguments.picture)


if __name__ == "__main__":
    main()
