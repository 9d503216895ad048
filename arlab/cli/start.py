"""Where a run begins: a fresh folder, where it stopped, or the checkpoint of another run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arlab.cli.fingerprint import key_of
from arlab.runs.content import content_of
from arlab.runs.folder import RunFolder

LAST = "last"


@dataclass(frozen=True)
class Start:
    """A run's folder and what it is trained on from.

    Attributes:
        folder: the run.
        checkpoint: what to load now; None for a fresh start.
        source: the checkpoint of another run that it starts from, while it has none of its own.
        record: what the folder is to say of its key, as plain data.
    """

    folder: RunFolder
    checkpoint: Path | None
    source: Path | None
    record: dict[str, Any]


def find_start(runs: Path, settings: Mapping[str, Any], named: str | None) -> Start:
    """Where a run of these settings begins.

    Nothing named: in its own folder. 'last': in the latest run of these settings, else from the latest of the
    experiment. A checkpoint, run or experiment: in the run of these settings that began from it, or holds it as its
    last; else in a new one, whose key counts the checkpoint's content.

    Args:
        runs: the folder of all runs of the experiment.
        settings: what the key of a run is made of that starts from nothing.
        named: as ``--ckpt_path`` has it.

    Raises:
        ValueError: what was named is not there, or is not the last checkpoint of its own run.
    """
    key = key_of(settings)
    plain = RunFolder(runs / key)
    own = [plain, *(run for run in map(RunFolder, runs.glob("*/")) if _recorded(run).get("settings_key") == key)]
    saved = sorted((run for run in own if run.last.is_file()), key=lambda run: -run.last.stat().st_mtime)
    record = {"settings_key": key, "settings": dict(settings), "start": None}
    if named is None:
        return Start(plain, _resumable(plain), None, record)
    if named == LAST and saved:
        return Start(saved[0], saved[0].last, None, record)
    begun = next((run for run in own if (_recorded(run).get("start") or {}).get("named") == named), None)
    if begun is not None and _resumable(begun) is not None:
        return Start(begun, _resumable(begun), None, record)
    path = _newest(runs) if named == LAST else _checkpoint(Path(named))
    holder = next((run for run in saved if run.holds(path)), None)
    if holder is not None:
        if path.resolve() != holder.last.resolve():
            raise ValueError(
                f"ckpt_path: {path} belongs to the run that goes on from {holder.last}; leave ckpt_path out to go on, "
                "or copy the file elsewhere to start another run from it"
            )
        return Start(holder, holder.last, None, record)
    content = content_of(path)
    folder = RunFolder(runs / key_of({**settings, "start": content}))
    record["start"] = {"named": named, "path": str(path), "content": content}
    resumable = _resumable(folder)
    return Start(folder, resumable or path, None if resumable else path, record)


def made_with(checkpoint: Path) -> dict[str, Any]:
    """The settings of the run that a checkpoint lies in, as far as they are recorded."""
    return _recorded(RunFolder(checkpoint.resolve().parent.parent)).get("settings") or {}


def _resumable(run: RunFolder) -> Path | None:
    """Where a run stopped; its best checkpoint where the last is gone."""
    return next((path for path in (run.last, run.best) if path.is_file()), None)


def _newest(runs: Path) -> Path:
    newest = max(runs.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        raise ValueError(f"ckpt_path: 'last': nothing was trained below {runs} yet")
    return newest


def _checkpoint(named: Path) -> Path:
    """A checkpoint to train on from: the file itself, or the last of a run or of an experiment's newest run."""
    if named.is_file():
        return named
    own = RunFolder(named).last
    saved = [own] if own.is_file() else list(named.glob("*/checkpoints/last.ckpt"))
    if not saved:
        raise ValueError(f"ckpt_path: no checkpoint, run or experiment to go on from: {named}")
    return max(saved, key=lambda path: path.stat().st_mtime)


def _recorded(run: RunFolder) -> dict[str, Any]:
    """What a folder says of its key; nothing where it was not written down."""
    try:
        made = json.loads(run.key_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return made if isinstance(made, dict) else {}
