"""The command line of ``arlab fit | validate | test``: configuration files and dotted overrides, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from arlab.cli.config import Tree, experiment_name, find, from_dotted, overlay, read
from arlab.cli.plain_yaml import plain_yaml

FLAGS = ("help", "help_all", "print_config")
_HELP = """\
usage: arlab {command} --config FILE [--config FILE ...] [--KEY VALUE ...]

{what}

  -c, --config FILE       a configuration; later ones and later options win
  --KEY VALUE             any key of a configuration, dotted: --model.ordering Raster, --model.backbone.width 256,
                          --data.batch_size 32, --trainer.max_steps 2000, --trainer.callbacks+ SampleGrid
  --seed_everything N     seed of the initial weights and of dropout (0)
  --ckpt_path PATH        {ckpt_path}
  --plugins FILE|FOLDER   Python files whose classes can be named, too; may be repeated (plugins/ is looked into anyhow)
  --tokenizer.KEY VALUE   any key of the experiment the tokenizer comes from
  --run_root FOLDER       where runs lie (ARLAB_RUNS in the environment; runs)
  --experiment NAME       the run's folder below it (the configuration's path without experiments/)
  --print_config          print the whole configuration, defaults included, and stop
  --help_all              every option of the Trainer
  --debug                 show tracebacks

What there is to choose from: arlab list. What it is and which options it has: arlab describe NAME.
"""
_WHAT = {
    "fit": "Train. A run that was interrupted goes on where it was saved; a finished one is shown again.",
    "validate": "Evaluate a run on the validation images.",
    "test": "Evaluate a run on the test images.",
}
_CKPT_PATH = {
    "fit": "start from this checkpoint or run ('last': the latest of this experiment)",
    "validate": "instead of the run's best",
}


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        command: fit, validate or test.
        tree: the configuration.
        configs: the files it came from.
        named: those files as they were named.
        dropped: a line for each class that was replaced by another and had options.
        flags: which of ``FLAGS`` were given.
    """

    command: str
    tree: Tree
    configs: tuple[Path, ...]
    named: tuple[str, ...]
    dropped: tuple[str, ...]
    flags: frozenset[str]

    @property
    def name(self) -> str:
        """The experiment: as given, else as its file is called."""
        return str(self.tree.get("experiment") or experiment_name(self.configs) or "unnamed")

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where paths in the configuration are looked for after the working directory."""
        return (*(path.parent for path in reversed(self.configs)), Path(__file__).parent)


def parse(argv: Sequence[str]) -> Request:
    """Read a command line.

    Raises:
        ValueError: it is malformed, or a configuration file cannot be read.
    """
    command, *words = argv
    tree: Tree = {}
    configs: list[Path] = []
    named: list[str] = []
    dropped: list[str] = []
    flags: set[str] = set()
    while words:
        key, value = _take(words)
        if key in FLAGS:
            flags.add(key)
        elif key == "config":
            path = find(value, [Path(__file__).parent]) or Path(value)
            configs.append(path)
            named.append(value)
            tree = overlay(tree, read(path, dropped), dropped)
        elif key == "plugins":
            tree = overlay(tree, {"plugins+": value}, dropped)
        elif key.endswith(".help"):
            raise ValueError(f"--{key}: see `arlab describe {value}`")
        else:
            tree = overlay(tree, from_dotted(key, _structured(key, value)), dropped)
    return Request(command, tree, tuple(configs), tuple(named), tuple(dropped), frozenset(flags))


def help_text(command: str) -> str:
    """What ``--help`` prints."""
    ckpt_path = _CKPT_PATH.get(command, _CKPT_PATH["validate"])
    return _HELP.format(command=command, what=_WHAT[command], ckpt_path=ckpt_path)


def _take(words: list[str]) -> tuple[str, str]:
    """The next option, taken off the front; an option without a value stands for true."""
    word = words.pop(0)
    if word in ("-h", "-c"):
        word = {"-h": "--help", "-c": "--config"}[word]
    if not word.startswith("--") or word == "--":
        raise ValueError(f"unexpected {word!r} on the command line; options are --KEY VALUE")
    key, equals, value = word[2:].partition("=")
    if not all(key.split(".")) or key.startswith("+"):
        raise ValueError(f"unexpected {word!r} on the command line; options are --KEY VALUE, KEY as in model.head")
    if equals or key in FLAGS:
        return key, value
    if words and not words[0].startswith("--"):
        return key, words.pop(0)
    if key == "config":
        raise ValueError("--config: needs a file")
    return key, "true"


def _structured(key: str, value: str) -> object:
    """Lists and mappings are read here; what a plain word means is decided by the option's type."""
    if not value.startswith(("[", "{")):
        return value
    return plain_yaml(value, f"--{key}")
