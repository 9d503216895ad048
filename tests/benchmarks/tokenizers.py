"""All trained tokenizers of a data set in one table: python -m tests.benchmarks.tokenizers runs/emoji32/tokenizers.

Every finished run below the folder (the newest of each experiment) is measured on its validation images, as it was at
its last step, so that all have had as many. Usage and perplexity come from one pass over the training images as well.
Minutes are steps times the median time of a step, measured here and one run after the other, because trainings side by
side slow each other down; a discriminator's share is left out.

Letters: B batch.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt
from torch import Tensor

from arlab.configurable import from_spec
from arlab.data.loaders import LoadedData, Split
from arlab.discovery import discover
from arlab.features.classifier import EmojiClassifier, FashionClassifier
from arlab.features.feature_network import FeatureNetwork
from arlab.images import image_grid
from arlab.metrics.protocol import Protocol
from arlab.metrics.reconstruction import code_figures, cost, evaluate_reconstruction
from arlab.runs.checkpoint import KEY
from arlab.runs.resolve import load_model, read, resolve
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.quantizers.quantizer import count_codes

_STEPS = 12
_SHOWN = 16


@dataclass(frozen=True)
class Row:
    """One tokenizer; None where a figure does not apply."""

    name: str
    steps: int
    figures: dict[str, float]
    training: dict[str, float]
    minutes: float

    def __str__(self) -> str:
        f, t = self.figures, self.training
        rfid = next((value for name, value in f.items() if name.startswith("rFID")), None)
        bits = f.get("bits_per_image")
        cells = [
            self.name,
            f"{f['tokens_per_image']:.0f}",
            "–" if bits is None else f"{bits:.0f}",
            f"{f['psnr']:.2f}",
            f"{f['ssim']:.3f}",
            f"{f['perceptual_distance']:.3f}",
            "–" if rfid is None else f"{rfid:.2f}",
            _share(f.get("usage")),
            _share(t.get("usage")),
            "–" if "perplexity" not in t else f"{t['perplexity']:.0f}",
            f"{self.minutes:.1f}",
            f"{f['images_per_second']:.0f}",
        ]
        return "| " + " | ".join(cells) + " |"


def measure(experiment: Path, network: FeatureNetwork | None) -> Row:
    """The newest run of an experiment."""
    last = resolve(experiment).with_name("last.ckpt")
    held = read(last)
    tokenizer = load_model(last, LearnedTokenizer)
    data = from_spec(held[KEY]["data"], LoadedData)
    part = data.part(Split.VALIDATION)
    if network is None:
        network = FashionClassifier() if tokenizer.facts.channels == 1 else EmojiClassifier()
    rows = torch.arange(len(part))
    measured = evaluate_reconstruction(tokenizer, part, rows, network=network, protocol=Protocol(split="validation"))
    figures = {name: figure.value for name, figure in measured.figures.items()} | cost(tokenizer)
    steps = int(held["global_step"])
    return Row(
        experiment.name, steps, figures, on_training(tokenizer, data), steps * step_seconds(tokenizer, data) / 60
    )


@torch.no_grad()
def on_training(tokenizer: LearnedTokenizer, data: LoadedData) -> dict[str, float]:
    """Usage and perplexity of the codes over one pass through the training images; nothing for other tokens."""
    if tokenizer.codes is None:
        return {}
    part = data.part(Split.TRAIN)
    tokens = [tokenizer.encode(part.batch(rows, known=False).image) for rows in torch.arange(len(part)).split(100)]
    counts_LV = count_codes(torch.cat(tokens), tokenizer.layout, tokenizer.codes.codebook_size)
    return code_figures(counts_LV, own_codebooks=tokenizer.quantizer.own_codebooks)


def step_seconds(tokenizer: LearnedTokenizer, data: LoadedData) -> float:
    """The median time of forward, backward and update, without the discriminator."""
    tokenizer.train().requires_grad_(True)
    optimizer: Any = tokenizer.optimizer.build(tokenizer, 1000)["optimizer"]
    image_BCHW = data.part(Split.TRAIN).batch(torch.arange(data.batch_size), known=False).image
    seconds = []
    for _ in range(_STEPS):
        start = time.perf_counter()
        quantized = tokenizer.quantizer(tokenizer.autoencoder.encode(image_BCHW))
        loss = tokenizer.reconstruction(tokenizer.autoencoder.decode(quantized.vectors), image_BCHW) + quantized.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


@torch.no_grad()
def draw(experiments: list[Path], file: Path) -> None:
    """Every third validation image, so that all classes occur, through each tokenizer; a labelled row each."""
    rows: dict[str, Tensor] = {}
    for experiment in experiments:
        last = resolve(experiment).with_name("last.ckpt")
        tokenizer = load_model(last, LearnedTokenizer)
        part = from_spec(read(last)[KEY]["data"], LoadedData).part(Split.VALIDATION)
        image_BCHW = part.batch(torch.arange(0, 3 * _SHOWN, 3), known=False).image
        rows.setdefault("images", image_BCHW)
        rows[experiment.name] = tokenizer.decode(tokenizer.encode(image_BCHW))
    grid = image_grid(torch.cat(list(rows.values())), columns=_SHOWN, scale=2)
    figure, axes = plt.subplots(figsize=(grid.shape[1] / 80, grid.shape[0] / 80), layout="constrained")
    axes.imshow(grid, cmap="gray", interpolation="nearest")
    height = grid.shape[0] / len(rows)
    axes.set_yticks([height * (row + 0.5) for row in range(len(rows))], list(rows))
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    figure.savefig(file, dpi=100)


def main() -> int:
    """Print the table in Markdown, and draw the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the runs, such as runs/emoji32/tokenizers")
    parser.add_argument("--picture", type=Path, help="a PNG of the same images through each tokenizer")
    options = parser.parse_args()
    folder = options.folder
    discover()
    experiments = sorted(path for path in folder.iterdir() if path.is_dir())
    if options.picture is not None:
        draw(experiments, options.picture)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    names = ["tokens", "bits", "PSNR dB", "SSIM", "perceptual", "rFID@N", "usage", "usage, train", "perplexity, train"]
    print("| | " + " | ".join([*names, "minutes", "images/s"]) + " |\n|" + "---|" * 12)
    for experiment in experiments:
        print(measure(experiment, None), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
