"""Whose weights an import holds, for its card: of each file the family and what its documentation cites."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

from arlab.cli.papers import papers_in

if TYPE_CHECKING:
    from arlab.checkpoints.importing import Found

_BESIDE = "its tokenizer: "


def credits(generator: Found | None, preset: str | None, tokenizer: Found | str) -> str:
    """What a card says of an import.

    Args:
        generator: its file; None: the tokenizer alone.
        preset: by which the generator's file was read.
        tokenizer: its file, or the RUN it was taken from.

    Raises:
        ValueError: there is no such run.
    """
    told = _of_run(tokenizer) if isinstance(tokenizer, str) else _of_file(tokenizer, None)
    return told if generator is None else f"{_of_file(generator, preset)}; {_BESIDE}{told}"


def _of_file(found: Found, preset: str | None) -> str:
    released = f" {preset}" if preset else ""
    papers = [str(paper) for paper in papers_in(inspect.getdoc(found.family) or "")]
    return "; ".join([f"{type(found.family).__name__}{released} ({found.path.name})", *papers])


def _of_run(run: str) -> str:
    """What a run's own card says of its tokenizer."""
    from arlab.runs.checkpoint import KEY, ORIGIN, STARTED_FROM
    from arlab.runs.resolve import read_tokenizer

    entry = read_tokenizer(run)[KEY]
    if entry.get(ORIGIN):
        return str(entry[ORIGIN]).rpartition(_BESIDE)[2]
    began = f", from the weights of {entry[STARTED_FROM]} on" if entry.get(STARTED_FROM) else ""
    return f"{Path(run).resolve().name}, trained with arlab{began}"
