"""``arlab evaluate`` of a generator: quality, likelihood, cost and tokenizer, with the pictures they are of."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping

from rich import box
from rich.console import Console
from rich.table import Table

import arlab
from arlab.cli.evaluate import Places
from arlab.cli.image_size import sides
from arlab.cli.progress import Progress
from arlab.cli.sampling_options import drawing_of
from arlab.cli.summary import say
from arlab.compare.evaluation import measure
from arlab.compare.measurement import Measurement
from arlab.compare.record import Evaluation
from arlab.compare.showing import neighbours_picture, samples_picture, steps_picture
from arlab.compare.shown_numbers import interval_text
from arlab.compare.storage import write_evaluation
from arlab.compare.subject import Subject
from arlab.data.loaders import Split
from arlab.discovery import named
from arlab.features.feature_network import FeatureNetwork
from arlab.images import save_png
from arlab.metrics.figure import Figure
from arlab.metrics.protocol import Protocol

_OF_TOKENIZER = ("psnr", "rFID")


def measurement_of(options: argparse.Namespace) -> Measurement:
    """What the options of a command say.

    Raises:
        ValueError: a number is out of range, or there is no such network or guidance.
    """
    return Measurement(
        split=Split(options.split),
        num_images=options.num_images,
        network=None if options.network is None else named(options.network, FeatureNetwork, "network"),
        sampler=drawing_of(options).sampler(),
        seed=options.seed,
        batch_size=options.batch_size,
        device=options.device,
        features=options.features,
    )


def evaluate_generator(options: argparse.Namespace, subject: Subject, places: Places) -> None:
    """Measure, write figures and pictures, show the figures.

    Args:
        options: of the command.
        subject: the generator.
        places: where figures and pictures go.

    Raises:
        ValueError: its images are not there, or cannot be measured so.
    """
    with Progress("batches") as progress:
        evaluation, shown = measure(subject, _measurement(options), progress.step)
    pictures = {
        "samples": samples_picture(shown),
        "steps": steps_picture(shown),
        "neighbours": neighbours_picture(shown),
    }
    files = {name: save_png(picture, places.picture(name)) for name, picture in pictures.items()}
    beside = {"model": subject.spec["class_path"], "data": subject.data, "arlab": arlab.__version__}
    write_evaluation(evaluation, places.file, beside)

    console = Console()
    console.print(_table(evaluation))
    for line in _told(evaluation.figures):
        say(console, line)
    say(console, subject.told)
    for name, path in files.items():
        say(console, f"{name}: {path}")
    say(console, f"metrics: {places.file}")


def _measurement(options: argparse.Namespace) -> Measurement:
    """With the size of images, which no other command has."""
    size = None if options.image_size is None else sides(options.image_size)
    return dataclasses.replace(measurement_of(options), image_size=size)


def _table(evaluation: Evaluation) -> Table:
    """Each figure with its interval; those of the tokenizer that bound all others below."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("figure")
    for heading in ("value", "interval"):
        table.add_column(heading, justify="right")
    table.add_column("unit")
    for name, figure in evaluation.figures.items():
        table.add_row(name, *_numbers(figure))
    table.add_section()
    for name, figure in evaluation.tokenizer_figures.items():
        if name.split("_")[0].split("@")[0] in _OF_TOKENIZER:
            table.add_row(f"tokenizer {name}", *_numbers(figure))
    return table


def _numbers(figure: Figure) -> tuple[str, str, str]:
    return (*interval_text(figure.value, figure.low, figure.high), figure.unit or "")


def _told(figures: Mapping[str, Figure]) -> list[str]:
    """The protocol of quality, in words."""
    how = next(figure.protocol for figure in figures.values() if figure.protocol.feature_hash is not None)
    sized = [] if how.image_size is None else [f"generated images brought to {how.image_size}"]
    return [
        f"{how.num_images} generated images against {how.num_real} {how.split} images of {how.data}",
        *sized,
        f"seen by {how.feature_network} {str(how.feature_hash)[:8]}; {_sampling(how)}",
    ]


def _sampling(how: Protocol) -> str:
    guidance = f"guidance {how.guidance_scale:g}" if how.guidance is None else how.guidance
    weights = "averaged weights" if how.ema else "raw weights"
    settings = (guidance, f"temperature {how.temperature}", f"top_k {how.top_k}", f"top_p {how.top_p}")
    return ", ".join((*settings, f"seed {how.seed}", weights, f"{how.dtype}", f"{how.device}"))
