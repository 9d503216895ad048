"""An experiment ready to run: its parts, what makes its run what it is, and where that begins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml

from arlab import plugins
from arlab.callbacks.run_checkpoints import Best
from arlab.cli.fingerprint import counts, difference, differences, fingerprint
from arlab.cli.lightning_cli import ArlabCLI
from arlab.cli.start import Start, find_start, made_with
from arlab.data.data import ImageData
from arlab.module import Module
from arlab.runs.checkpoint import KEY
from arlab.runs.folder import RunFolder
from arlab.runs.resolve import read


@dataclass(frozen=True)
class Prepared:
    """A parsed configuration with its data, and where its run lies.

    Attributes:
        part: tokenizer or generator.
        title: how the experiment is called on the screen.
        runs: the folder of all runs of the experiment.
        data: the data module.
        cli: the parsed configuration, from which model and Trainer are built.
        tokenizer_key: the key of the run the tokenizer comes from, where it comes from one.
        named_start: what to start from as it was named; see ``find_start``.
        weights_key: the key of the run that initial weights come from, where they come from one.
    """

    part: str
    title: str
    runs: Path
    data: ImageData
    cli: ArlabCLI
    tokenizer_key: str | None
    named_start: str | None = None
    weights_key: str | None = None

    def start(self) -> Start:
        """Where the run begins, as the folder of all runs stands now.

        Raises:
            ValueError: what was named to start from is not there.
        """
        return find_start(self.runs, self.settings, self.named_start)

    @cached_property
    def folder(self) -> RunFolder:
        """Where the run is, or will be."""
        return self.start().folder

    @cached_property
    def best(self) -> Best:
        """The figure that decides which checkpoint is the best."""
        return Best(**(self.cli.plain().get("best") or {}))

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What a run's key is made of: data, model, optimisation, seed, plugins."""
        config = self.cli.plain()
        settings = fingerprint(config, self.tokenizer_key, self.weights_key)
        content = self.data.content()
        if content is not None:
            options = {k: v for k, v in settings["data"]["init_args"].items() if k not in self.data.paths}
            settings["data"] = {**settings["data"], "init_args": {**options, "content": content}}
        if self.best != Best():
            settings["best"] = config["best"]
        used = {plugin.module: plugin.sha256[:8] for plugin in plugins.used(config["model"], config["data"])}
        return {**settings, "plugins": used} if used else settings

    def record(self, start: Start) -> dict[str, str]:
        """What the run's folder says of it, as files by name: the whole configuration, and what its key is made of."""
        source = "" if start.source is None else yaml.safe_dump({"start": str(self.named_start)})
        return {"config.yaml": self.cli.text + source, "key.json": json.dumps(start.record, indent=2) + "\n"}

    def changes(self, source: Path, held: Mapping[str, Any], model: Module) -> list[str]:
        """In what the model and its training differ from those that another run's checkpoint was made with.

        Args:
            source: where the checkpoint lies.
            held: the checkpoint.
            model: as it is configured.
        """
        entry, now = held[KEY], dict[str, Any]()
        model.on_save_checkpoint(now)
        # Specs say what was built for options that were left out; the folder knows what a checkpoint does not. Random
        # numbers go on from the checkpoint, so the seed means nothing.
        old = {**made_with(source), "data": counts(entry["data"]), "model": counts(entry["model"])}
        new = {**self.settings, "data": counts(self.data.spec()), "model": counts(model.spec())}
        lines = list(differences({key: value for key, value in old.items() if key != "seed"}, new))
        if _weights(entry) is not None and not _same(_weights(entry), _weights(now[KEY])):
            lines.append("model.tokenizer: its weights are others, so tokens mean something else")
        return lines

    def refuse_changed_defaults(self) -> None:
        """See that an earlier run in this folder was made with the same settings.

        Raises:
            ValueError: a default has changed since, one of a part that no configuration names among them.
        """
        changed: str | None = None
        if self.folder.config.is_file():
            made_before = yaml.safe_load(self.folder.config.read_text(encoding="utf-8"))
            changed = difference(fingerprint(made_before, self.tokenizer_key, self.weights_key), self.settings)
        saved = self.folder.evaluated
        if changed is None and saved is not None:
            made, now = read(saved)[KEY]["model"], self.cli.build_model().spec()
            changed = difference(counts(made), counts(now), "model")
        if changed is not None:
            raise ValueError(
                f"{self.folder.path}: a default has changed since this run was made ({changed}); "
                "set it in the configuration, or move the run away"
            )


def _weights(entry: Mapping[str, Any]) -> Any:
    """Those of a generator's frozen tokenizer."""
    return (entry.get("tokenizer") or {}).get("state_dict")


def _same(old: Mapping[str, torch.Tensor], new: Mapping[str, torch.Tensor] | None) -> bool:
    if new is None or old.keys() != new.keys():
        return False
    return all(torch.equal(value, new[name].cpu()) for name, value in old.items())
