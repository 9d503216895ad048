"""What is evaluated: a trained model, the file it came from, and the images it is measured with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arlab.configurable import from_spec
from arlab.data.cached import CachedTokens
from arlab.data.loaders import LoadedData
from arlab.discovery import discover
from arlab.module import Module
from arlab.runs.checkpoint import KEY, rebuild
from arlab.runs.content import content_of
from arlab.runs.resolve import read, resolve


@dataclass(frozen=True)
class Subject:
    """A trained model and where it came from.

    Attributes:
        run: as it was named.
        path: the checkpoint or the export that this means.
        model: in evaluation mode, with its averaged weights where it has any.
        content: a digest of the file.
        step: it was saved at; None where it does not say.
        spec: of the model.
        data: the spec of the data it was trained on; None where it does not say.
    """

    run: str
    path: Path
    model: Module
    content: str
    step: int | None
    spec: Mapping[str, Any]
    data: Mapping[str, Any] | None

    @property
    def told(self) -> str:
        """Which file it is, and of which step where that is known; an export does not say."""
        return f"of {self.path}" + ("" if self.step is None else f", step {self.step}")

    def images(self) -> LoadedData:
        """The images it is measured with: those it was trained on, or its tokens were made of.

        Raises:
            ValueError: the run does not say which, or they are not there any more, or others.
        """
        if self.data is None:
            raise ValueError(
                "run: does not say which data it was trained on, so there is nothing to measure it with; "
                "name them where it is imported: arlab import ... --images FOLDER"
            )
        discover()
        data = from_spec(self.data, LoadedData)
        if isinstance(data, CachedTokens):
            data = from_spec(data.manifest.data.spec, LoadedData)
        if data.carries_tokens:
            name = type(data).__name__
            raise ValueError(f"run: was trained on tokens ({name}); train it on images to measure it by images")
        contradiction = self.model.facts.contradiction(data.facts)
        if contradiction is not None:
            raise ValueError(f"run: its data are not what it was trained on any more; {contradiction}")
        return data


def open_subject(run: str) -> Subject:
    """The trained model of a RUN.

    Raises:
        ValueError: there is no such run, or it cannot be read or rebuilt.
    """
    path = resolve(run)
    held = read(path)
    try:
        model = rebuild(held, Module)
    except ValueError as error:
        raise ValueError(f"{run}: {error}") from error
    recorded = held[KEY]
    return Subject(run, path, model, content_of(path), held.get("global_step"), recorded["model"], recorded.get("data"))
