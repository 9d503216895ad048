"""The ``arlab`` command: finds the command asked for and imports nothing else, so that help comes at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import arlab
from arlab.cli.errors import guarded, suggestion, take_debug


@dataclass(frozen=True)
class Command:
    """A command of the front end.

    Attributes:
        module: imported when the command is asked for; its ``function`` takes the arguments, gives the exit status.
        summary: the line in ``arlab --help``.
        function: by default ``main``.
    """

    module: str
    summary: str
    function: str = "main"


_TRAINING = ("fit", "validate", "test")
COMMANDS = {
    "fit": Command("arlab.cli.training", "train a tokenizer, or a generator and the tokenizer it needs"),
    "validate": Command("arlab.cli.training", "figures of a run on the validation images"),
    "test": Command("arlab.cli.training", "figures of a run on the test images"),
    "sample": Command("arlab.cli.sample", "generate images with a trained model, write them as a grid"),
    "evaluate": Command("arlab.cli.evaluate", "the figures of a generator or a tokenizer: quality, likelihood, cost"),
    "compare": Command("arlab.cli.compare", "train experiments, measure them and runs in one way, write a report"),
    "list": Command("arlab.cli.components", "the orderings, heads, tokenizers, ... there are", "list_components"),
    "describe": Command("arlab.cli.components", "a component: what it is, its options, its paper", "describe"),
    "new": Command("arlab.cli.new", "write a working ordering, pyramid, head or experiment to start from"),
    "check": Command("arlab.cli.check", "try the laws of its kind on an ordering, head, pyramid, ..., a plugin's too"),
    "cache": Command("arlab.cli.cache", "write the tokens of an image set, to train generators on"),
    "import": Command("arlab.cli.import_released", "make a run of a published checkpoint: VAR, LlamaGen, MAR, ..."),
    "export": Command("arlab.cli.export", "write a trained model as safetensors and JSON"),
    "doctor": Command("arlab.cli.doctor", "versions, devices, disk, and known conflicts with their remedies"),
}

_HELP = """\
arlab: visual autoregressive generation, in parts that are freely combined

usage: arlab COMMAND ...

{commands}

  arlab COMMAND --help   options and examples of a command
  arlab --version        the version

RUN, wherever it stands, is a run folder, an experiment folder (its newest run), a checkpoint or an exported folder.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, or 2 after a user's mistake.

    Args:
        argv: the arguments; those of the process by default.
    """
    arguments, debug = take_debug(sys.argv[1:] if argv is None else argv)
    # Wherever it stood: commands that guard themselves look for it after their name.
    arguments += ["--debug"] if debug else []
    try:
        return guarded(lambda: _run(arguments), debug=debug)
    except SystemExit as end:
        # argparse ends so after --help.
        return end.code if isinstance(end.code, int) else int(end.code is not None)


def _run(arguments: list[str]) -> int:
    name, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if name in ("-h", "--help", "help"):
        print(_HELP.format(commands="\n".join(f"  {name:<9} {command.summary}" for name, command in COMMANDS.items())))
        return 0
    if name == "--version":
        print(f"arlab {arlab.__version__}")
        return 0
    if name not in COMMANDS:
        raise ValueError(f"arlab has no command {name!r}.{suggestion(name, COMMANDS)}")
    command = COMMANDS[name]
    function = getattr(importlib.import_module(command.module), command.function)
    return int(function(arguments if name in _TRAINING else rest))
