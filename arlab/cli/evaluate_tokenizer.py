"""``arlab evaluate`` of a tokenizer: what it keeps of images and what its tokens cost.

Letters: N images, B batch, C channels, H and W image sides.
"""

from __future__ import annotations

import argparse
import json
import math
from datetime import UTC, datetime

import torch
from rich.console import Console

import arlab
from arlab.cli.evaluate import Places
from arlab.cli.progress import Progress
from arlab.cli.summary import say, show_figures
from arlab.compare.evaluation import machine
from arlab.compare.subject import Subject
from arlab.data.loaders import Split
from arlab.discovery import named
from arlab.features.classifier import shipped
from arlab.features.feature_network import FeatureNetwork
from arlab.images import Picture, image_grid, save_png
from arlab.metrics.protocol import Protocol
from arlab.metrics.reconstruction import Reconstructed, evaluate_reconstruction
from arlab.runs.files import write_text
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.trained import find_device

_COLUMNS = 16
_SHOWN_SIDE = 64


def evaluate_tokenizer(options: argparse.Namespace, subject: Subject, tokenizer: Tokenizer, places: Places) -> None:
    """Measure, write figures and picture, show them.

    Args:
        options: of the command.
        subject: where the tokenizer comes from.
        tokenizer: its model.
        places: where figures and picture go.

    Raises:
        ValueError: its images are not there, or cannot be measured so.
    """
    measured = _measure(options, subject, tokenizer)
    record = {
        "run": subject.run,
        "checkpoint": subject.path.as_posix(),
        "step": subject.step,
        "content": subject.content,
        "model": subject.spec["class_path"],
        "data": subject.data,
        "batch_size": options.batch_size,
        "machine": machine(tokenizer.device),
        "arlab": arlab.__version__,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "figures": {name: figure.plain() for name, figure in measured.figures.items()},
    }
    picture = save_png(_grid(measured), places.picture("reconstructions"))
    write_text(places.file, json.dumps(record, indent=2, allow_nan=False) + "\n")

    console = Console()
    figures = measured.figures.items()
    show_figures(console, {f"{name} ({each.unit})" if each.unit else name: each.value for name, each in figures})
    how = measured.figures["perceptual_distance"].protocol
    say(
        console, f"{how.num_images} {how.split} images, {how.feature_network} {str(how.feature_hash)[:8]}, {how.device}"
    )
    say(console, subject.told)
    say(console, f"reconstructions: {picture}")
    say(console, f"metrics: {places.file}")


def _measure(options: argparse.Namespace, subject: Subject, tokenizer: Tokenizer) -> Reconstructed:
    """The figures of the images that were asked for."""
    facts = tokenizer.facts
    network = shipped(facts.channels) if options.network is None else named(options.network, FeatureNetwork, "network")
    network.refuse(facts.channels)
    tokenizer.to(find_device(options.device))
    part = subject.images().part(Split(options.split))
    count = len(part) if options.num_images is None else options.num_images
    if count > len(part):
        raise ValueError(f"num_images: the {options.split} part has {len(part)} images, got {count}")
    order_N = torch.randperm(len(part), generator=torch.Generator().manual_seed(options.seed))
    batches = math.ceil(count / options.batch_size)
    with Progress("batches") as progress:
        return evaluate_reconstruction(
            tokenizer,
            part,
            order_N[:count].sort().values,
            network=network,
            protocol=Protocol(split=options.split, seed=options.seed),
            batch_size=options.batch_size,
            on_batch=lambda: progress.step("measuring", batches),
        )


def _grid(measured: Reconstructed) -> Picture:
    """Rows of images, each above the row of their reconstructions."""
    columns = min(_COLUMNS, len(measured.image_BCHW))
    missing = -len(measured.image_BCHW) % columns
    both = []
    for image_BCHW in (measured.image_BCHW, measured.reconstruction_BCHW):
        filled_BCHW = torch.cat([image_BCHW, image_BCHW.new_ones(missing, *image_BCHW.shape[1:])])
        both.append(filled_BCHW.unflatten(0, (-1, columns)))
    rows_BCHW = torch.stack(both, 1).flatten(0, 2)
    return image_grid(rows_BCHW, columns, scale=max(1, _SHOWN_SIDE // int(rows_BCHW.shape[-2])))
