"""An experiment ready to run: its parts, its run folder, and the checkpoint it goes on from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from arlab import plugins
from arlab.cli.fingerprint import counts, difference, differences, fingerprint, key_of
from arlab.cli.lightning_cli import ArlabCLI
from arlab.data.data import ImageData
from arlab.module import Module
from arlab.runs.checkpoint import KEY
from arlab.runs.folder import RunFolder
from arlab.runs.resolve import read

_START = "start"


@dataclass(frozen=True)
class Prepared:
    """A parsed configuration with its data, and where its run lies.

    A run is known by what makes it what it is: data, model, optimisation, seed, plugins, and the content of the
    checkpoint it starts from, where that is another run's.

    Attributes:
        part: tokenizer or generator.
        title: how the experiment is called on the screen.
        runs: the folder of all runs of the experiment.
        data: the data module.
        cli: the parsed configuration, from which model and Trainer are built.
        tokenizer_key: the key of the run the tokenizer comes from, where it comes from one.
        named_start: the checkpoint or run to start from as it was named; 'last' for the latest.
    """

    part: str
    title: str
    runs: Path
    data: ImageData
    cli: ArlabCLI
    tokenizer_key: str | None
    named_start: str | None = None

    @cached_property
    def folder(self) -> RunFolder:
        """Where the run is, or will be."""
        return self._own if self.start is None else RunFolder(self.runs / key_of(self.counted))

    @cached_property
    def counted(self) -> dict[str, Any]:
        """What the run's key is made of."""
        return self._settings if self.start is None else {**self._settings, _START: content(self.start)}

    @cached_property
    def start(self) -> Path | None:
        """The checkpoint of another run that this one starts from, if it does.

        Raises:
            ValueError: what was named is not there.
        """
        if self.named_start is None:
            return None
        if self.named_start != "last":
            path = _checkpoint(Path(self.named_start))
            return None if self._holder(path) is not None else path
        newest = max(self.runs.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime, default=None)
        if newest is None:
            raise ValueError(f"ckpt_path: 'last': nothing was trained below {self.runs} yet")
        return None if self._own_runs else newest

    @cached_property
    def checkpoint(self) -> Path | None:
        """What to load now: where this run stopped, else the checkpoint it starts from; None for a fresh start."""
        own = next((path for path in (self.folder.last, self.folder.best) if path.is_file()), self.start)
        if self.start is None and self.named_start not in (None, "last"):
            own = _checkpoint(Path(str(self.named_start)))
        return own

    def changes(self, model: Module) -> list[str]:
        """In what the configuration differs from the one that the checkpoint of another run was made with."""
        if self.start is None:
            return []
        held, made = read(self.start)[KEY], _recorded(RunFolder(self.start.resolve().parent.parent)) or {}
        # Specs say what was built for options that were left out; the folder knows what a checkpoint does not.
        old = {**made, "data": counts(held["data"]), "model": counts(held["model"])}
        new = {**self._settings, "data": counts(self.data.spec()), "model": counts(model.spec())}
        return list(differences(old, new))

    def record(self) -> dict[str, str]:
        """What the run's folder says of it, as files by name: the whole configuration, and what its key is made of."""
        start = "" if self.start is None else yaml.safe_dump({"ckpt_path": str(self.start)})
        return {"config.yaml": self.cli.text() + start, "key.json": json.dumps(self.counted, indent=2) + "\n"}

    def refuse_changed_defaults(self) -> None:
        """See that an earlier run in this folder was made with the same settings.

        Raises:
            ValueError: a default has changed since, one of a part that no configuration names among them.
        """
        changed: str | None = None
        if self.folder.config.is_file():
            made_with = yaml.safe_load(self.folder.config.read_text(encoding="utf-8"))
            changed = difference(fingerprint(made_with, self.tokenizer_key), self.counted)
        saved = self.folder.evaluated
        if changed is None and saved is not None:
            made, now = read(saved)[KEY]["model"], self.cli.build_model().spec()
            changed = difference(counts(made), counts(now), "model")
        if changed is not None:
            raise ValueError(
                f"{self.folder.path}: a default has changed since this run was made ({changed}); "
                "set it in the configuration, or move the run away"
            )

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """What the key is made of, without a start."""
        config = self.cli.plain()
        settings = fingerprint(config, self.tokenizer_key)
        files = self.data.content()
        if files is not None:
            options = {k: v for k, v in settings["data"]["init_args"].items() if k not in self.data.paths}
            settings["data"] = {**settings["data"], "init_args": {**options, "content": files}}
        if config.get("best"):
            settings["best"] = config["best"]
        used = {plugin.module: plugin.sha256[:8] for plugin in plugins.used(config["model"], config["data"])}
        return {**settings, "plugins": used} if used else settings

    @cached_property
    def _own_runs(self) -> list[RunFolder]:
        """Runs of these settings that can be gone on with, whatever they started from; the latest first."""
        plain = RunFolder(self.runs / key_of(self._settings))
        runs = [RunFolder(path) for path in self.runs.glob("*/") if path != plain.path]
        same = [plain, *(run for run in runs if _without_start(_recorded(run)) == _as_json(self._settings))]
        return sorted((run for run in same if run.last.is_file()), key=lambda run: -run.last.stat().st_mtime)

    @cached_property
    def _own(self) -> RunFolder:
        """The run of these settings that is gone on with, or begins."""
        plain = RunFolder(self.runs / key_of(self._settings))
        if self.named_start is None:
            return plain
        if self.named_start == "last":
            return self._own_runs[0]
        return self._holder(_checkpoint(Path(self.named_start))) or plain

    def _holder(self, path: Path) -> RunFolder | None:
        """The run of these settings in which a checkpoint lies."""
        return next((run for run in self._own_runs if run.holds(path)), None)


def content(path: Path) -> str:
    """The first 8 hexadecimal digits of the SHA-256 of a file, or of all files of an export."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]


def _checkpoint(named: Path) -> Path:
    """A checkpoint to train on from: the file itself, or the last of a run or of an experiment's newest run."""
    if named.is_file():
        return named
    own = RunFolder(named).last
    saved = [own] if own.is_file() else list(named.glob("*/checkpoints/last.ckpt"))
    if not saved:
        raise ValueError(f"ckpt_path: no checkpoint, run or experiment to go on from: {named}")
    return max(saved, key=lambda path: path.stat().st_mtime)


def _recorded(run: RunFolder) -> dict[str, Any] | None:
    """What a run's key was made of; None where that was not written down."""
    try:
        made = json.loads(run.key_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return made if isinstance(made, dict) else None


def _without_start(made: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if made is None else {key: value for key, value in made.items() if key != _START}


def _as_json(settings: Mapping[str, Any]) -> Any:
    """As it reads back from a file."""
    return json.loads(json.dumps(settings))
