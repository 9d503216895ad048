"""LightningCLI as arlab uses it: it parses a checked configuration, and builds when its stage comes."""

from __future__ import annotations

import copy
import re
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import Precision
from lightning.pytorch.plugins.io import CheckpointIO

from arlab.callbacks.atomic_io import AtomicIO
from arlab.callbacks.run_checkpoints import Best
from arlab.cli.config import Tree
from arlab.cli.precision import choose
from arlab.configurable import from_spec
from arlab.module import Module

_AROUND = re.compile(r"\W*(Does not validate|Subtypes|Errors|Expected a|Given value|Parser key|Problem with)")
_TRAINER_DEFAULTS = {"enable_model_summary": False, "num_sanity_val_steps": 1}


class ArlabCLI(LightningCLI):
    """A Trainer, a model and a data module from a configuration.

    Nothing is built before ``build_model`` and ``build_trainer`` are called: a generator's tokenizer may have to be
    trained first.

    Args:
        tree: a checked configuration; or ``["--help"]``.
    """

    def __init__(self, tree: Tree | list[str]) -> None:
        self._tree = tree
        super().__init__(
            model_class=L.LightningModule,
            datamodule_class=L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=tree,
            run=False,
            trainer_defaults=_TRAINER_DEFAULTS,
            seed_everything_default=0,
            save_config_callback=None,
            parser_kwargs={"allow_abbrev": False, "exit_on_error": False},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--experiment", type=str | None, default=None, help="name of the run's folder")
        # Those below stand in a configuration only where they were given.
        for key, kind, what in (
            ("best", Best, "which figure says what the best checkpoint is"),
            ("plugins", list[str], "Python files, or folders of them, whose classes can be named"),
            ("tokenizer", dict, "laid over the experiment of the tokenizer"),
        ):
            if key in self._tree:
                parser.add_argument(f"--{key}", type=kind, help=what)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.config = parser.parse_args(args) if isinstance(args, list) else parser.parse_object(args)

    def instantiate_classes(self) -> None:
        """Nothing yet."""

    @cached_property
    def text(self) -> str:
        """The whole configuration as YAML, defaults included."""
        # It was validated as it was parsed; that takes longer than all else here.
        written: str = self.parser.dump(self.config, skip_none=False, skip_validation=True)
        return written

    def plain(self) -> dict[str, Any]:
        """The whole configuration as plain data."""
        return copy.deepcopy(self._plain)

    @cached_property
    def _plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = yaml.safe_load(self.text)
        return plain

    def build_model(self) -> Module:
        """The model, its initial weights drawn from the configured seed."""
        seed = self.config.seed_everything
        if seed is not False:
            L.seed_everything(seed, workers=True, verbose=False)
        return from_spec(self.plain()["model"], Module, "model")

    def build_trainer(self, folder: Path, callbacks: list[Callback]) -> L.Trainer:
        """A Trainer that writes into a folder: checkpoints whole or not at all, TensorBoard under ``logs``.

        Where the configuration leaves the precision open it is the device's (``arlab.cli.precision``).
        """
        part = Namespace()  # type: ignore[no-untyped-call]
        part["trainer"] = self.config.trainer
        try:
            built = self.parser.instantiate_classes(part).trainer
        except ValueError as error:
            raise ValueError(f"trainer: {_cause(str(error))}") from error
        options = {**dict(built.items(nested=False, branches=True)), "default_root_dir": str(folder)}
        if options["logger"] in (None, True):
            options["logger"] = TensorBoardLogger(save_dir=folder, name="", version="logs")
        plugins = options["plugins"] or []
        plugins = list(plugins) if isinstance(plugins, list) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            plugins.append(AtomicIO())
        # A plug-in for the precision is a choice as well.
        if not any(isinstance(plugin, Precision) for plugin in plugins):
            options["precision"] = choose(options["accelerator"], options["devices"], options["precision"])
        try:
            trainer: L.Trainer = self._instantiate_trainer({**options, "plugins": plugins}, callbacks)
        except MisconfigurationException as error:
            raise ValueError(f"trainer: {error}") from error
        return trainer


def _cause(text: str) -> str:
    """What a component said, out of what jsonargparse says around it."""
    return next((line.strip(" -") for line in text.splitlines() if not _AROUND.match(line)), text)
