"""Options of the light commands: plain argparse whose errors are one line and offer what is near."""

from __future__ import annotations

import argparse
from typing import NoReturn

from arlab.cli.errors import suggestion


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing its usage.

    Args:
        command: as in ``arlab sample``.
        description: what it does.
        examples: shown below the options.
    """

    def __init__(self, *, command: str, description: str, examples: str) -> None:
        super().__init__(
            prog=f"arlab {command}",
            description=description,
            epilog=f"examples:\n{examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def add_plugins(self) -> None:
        """Offer ``--plugins``."""
        self.add_argument(
            "--plugins",
            action="append",
            default=[],
            metavar="PATH",
            help="a Python file, or a folder of them, whose classes are needed, too (plugins/ is looked into anyhow)",
        )

    def read(self, argv: list[str]) -> argparse.Namespace:
        """The options given.

        Raises:
            ValueError: an option is unknown, lacks its value or has a wrong one.
        """
        options, unknown = self.parse_known_args(argv)
        if unknown:
            known = [name for action in self._actions for name in action.option_strings if name.startswith("--")]
            raise ValueError(f"{self.prog} does not take {unknown[0]!r}.{suggestion(unknown[0], known)}")
        return options

    def error(self, message: str) -> NoReturn:
        """Raise what argparse found."""
        raise ValueError(f"{message} (see {self.prog} --help)")
