"""A model made of published weights, written as a run: an export, and a configuration to train it on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arlab.checkpoints.tuning import tuning
from arlab.data.folder import ImageFolder
from arlab.generators.generator import Generator
from arlab.module import Module
from arlab.runs.beside import CONFIG_FILE
from arlab.runs.card import CARD_FILE, card
from arlab.runs.checkpoint import KEY, ORIGIN, header
from arlab.runs.export import write


def write_run(model: Module, out: Path, *, images: Path | None, told: str) -> Path:
    """Write a model as a run that every command takes.

    Args:
        model: with its weights.
        out: a new or empty folder.
        images: those it is measured with.
        told: where it comes from.

    Raises:
        ValueError: the images are not there, or of other classes.
    """
    data = None if images is None else ImageFolder(root=str(images), image_size=model.facts.image_size)
    if data is not None and (differs := model.facts.contradiction(data.facts)):
        raise ValueError(f"images: the model and they differ in {differs}")
    entry: dict[str, Any] = header(model, data) | {ORIGIN: told}
    beside: dict[str, str] = {}
    if isinstance(model, Generator):
        entry["tokenizer"] = {"state_dict": model.tokenizer.module.state_dict()}
        beside[CONFIG_FILE] = tuning(model, out, images)
    checkpoint = {"state_dict": model.state_dict(), KEY: entry}
    beside[CARD_FILE] = card(checkpoint, name=out.resolve().name, trains_on=CONFIG_FILE in beside)
    return write(checkpoint, out, beside)
