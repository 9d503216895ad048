"""The rows of a comparison: every run measured, unless that was done before, with what its training was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console

import arlab
from arlab.cli.compare_plan import PlannedMember, PlannedRow
from arlab.cli.progress import Progress
from arlab.cli.summary import say
from arlab.compare.cost import training_flops
from arlab.compare.curves import read_curves
from arlab.compare.evaluation import evaluate
from arlab.compare.measurement import Measurement
from arlab.compare.record import Evaluation, Member, Row, Shown, Training
from arlab.compare.row_names import short_names
from arlab.compare.storage import read_evaluation, read_shown, write_evaluation, write_shown
from arlab.configurable import from_spec
from arlab.data.data import ImageData
from arlab.features.classifier import shipped
from arlab.generators.generator import Generator
from arlab.runs.content import content_of
from arlab.runs.files import remove
from arlab.runs.folder import RunFolder
from arlab.runs.resolve import load_model, read
from arlab.trained import find_device

_FIGURES = "evaluation.json"
_PICTURES = "shown.safetensors"


def settings(measurement: Measurement) -> dict[str, Any]:
    """What a measurement is, as plain data."""
    network = measurement.network
    return {
        "split": measurement.split.value,
        "num_images": measurement.num_images,
        "network": None if network is None else network.weights_hash,
        "sampler": measurement.sampler.spec(),
        "seed": measurement.seed,
        "batch_size": measurement.batch_size,
        "device": measurement.device,
        **({} if measurement.image_size is None else {"image_size": measurement.image_size}),
    }


def measured_rows(plan: Sequence[PlannedRow], measurement: Measurement, folder: Path, console: Console) -> list[Row]:
    """Everything that was planned, measured one after another, so that timings do not disturb each other.

    Args:
        plan: what there is, all of it trained.
        measurement: how to measure.
        folder: where measurements are kept; those of the same files, measured in the same way, are not made again.
        console: where to tell of it.

    Raises:
        ValueError: something cannot be measured.
    """
    places, shown = _places(plan, folder), short_names([row.name for row in plan])
    number, count = 0, sum(len(row.members) for row in plan)
    rows: list[Row] = []
    for row in plan:
        members = []
        for planned in row.members:
            number += 1
            what = row.name if planned.seed is None else f"{row.name}, seed {planned.seed}"
            place = places[row.name] / ("run" if planned.seed is None else str(planned.seed))
            told = f"{number} of {count}: {what}"
            # Each member draws with a seed of its own, so that their spread holds the chance of measuring, too.
            own = dataclasses.replace(measurement, seed=measurement.seed + (planned.seed or 0))
            try:
                members.append(_member(row, planned, own, place, told, console))
            except ValueError as error:
                raise ValueError(f"{what}: {error}") from error
        rows.append(Row(shown[row.name], tuple(members)))
    return rows


def slug(name: str) -> str:
    """A row's name as one of a file: 'fashion/raster + flow' is 'fashion-raster-flow'."""
    words = "".join(letter if letter.isalnum() or letter in "_." else " " for letter in name).split()
    return "-".join(words).lstrip(".") or "row"


def _places(plan: Sequence[PlannedRow], folder: Path) -> dict[str, Path]:
    """A folder of its own for each row."""
    places: dict[str, Path] = {}
    for row in plan:
        called, number = slug(row.name), 1
        while folder / called in places.values():
            number += 1
            called = f"{slug(row.name)}-{number}"
        places[row.name] = folder / called
    return places


def _member(
    row: PlannedRow, planned: PlannedMember, measurement: Measurement, place: Path, told: str, console: Console
) -> Member:
    run, key = planned.checkpoint, _key(row, measurement)
    kept = _kept(place, content_of(run), key)
    if kept is None:
        say(console, f"measuring {told}")
        with Progress("steps") as progress:
            evaluation, shown = evaluate(run.as_posix(), measurement, progress.step)
        flops = _flops_per_step(planned)
        # Figures last: where they are, the pictures are, too, and not those of an earlier measurement.
        remove(place / _FIGURES)
        write_shown(shown, place / _PICTURES)
        write_evaluation(evaluation, place / _FIGURES, {"measurement": key, "flops_per_step": flops})
        kept = evaluation, shown, flops
    else:
        say(console, f"measured already, {told}")
    evaluation, shown, flops = kept
    config = {} if planned.run is None else yaml.safe_load(planned.run.config.read_text(encoding="utf-8"))
    training = None if planned.run is None else _training(planned.run, flops)
    return Member(seed=planned.seed, evaluation=evaluation, shown=shown, training=training, config=config)


def _key(row: PlannedRow, measurement: Measurement) -> dict[str, Any]:
    """All that a measurement depends on beside the checkpoint; what stands for a default is told as what it means."""
    network = shipped(row.facts.channels) if measurement.network is None else measurement.network
    return {
        **settings(measurement),
        "network": network.weights_hash,
        "device": str(find_device(measurement.device)),
        "images": row.images,
        "torch": str(torch.__version__),
        "arlab": arlab.__version__,
    }


def _kept(place: Path, content: str, key: dict[str, Any]) -> tuple[Evaluation, Shown, float | None] | None:
    """What was measured before of this very file in this very way."""
    try:
        beside = json.loads((place / _FIGURES).read_text(encoding="utf-8"))
        evaluation, shown = read_evaluation(place / _FIGURES), read_shown(place / _PICTURES)
    except (OSError, ValueError):
        return None
    if evaluation.content != content or beside.get("measurement") != json.loads(json.dumps(key)):
        return None
    return evaluation, shown, beside.get("flops_per_step")


def _training(run: RunFolder, flops_per_step: float | None) -> Training | None:
    """What the folder of a run tells of its training; of one that has not come to its end, so far."""
    if run.finished:
        summary = run.read_summary()
        steps, seconds = summary["steps"], summary["seconds"]
    else:
        held = read(run.last if run.last.is_file() else run.best)
        steps, seconds = held["global_step"], held["callbacks"].get("RunCheckpoints", {}).get("seconds", 0.0)
    return Training(steps=steps, seconds=seconds, flops_per_step=flops_per_step, curves=read_curves(run))


def _flops_per_step(planned: PlannedMember) -> float | None:
    """Arithmetic of an optimiser step; None where the training images are not there."""
    if planned.run is None:
        return None
    config = yaml.safe_load(planned.run.config.read_text(encoding="utf-8"))
    try:
        data = from_spec(config["data"], ImageData, "data")
        batch = next(iter(data.train_dataloader()))
    except (ValueError, OSError):
        # A cache of tokens, say, that was deleted after training.
        return None
    generator = load_model(planned.checkpoint, Generator)
    return training_flops(generator, batch) * int(config["trainer"]["accumulate_grad_batches"])
