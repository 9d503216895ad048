"""``arlab fit``, ``arlab validate`` and ``arlab test``: from a command line to a finished run or its figures."""

from __future__ import annotations

from arlab.cli.arguments import Request, help_text, parse
from arlab.cli.errors import guarded, take_debug


def main(argv: list[str]) -> int:
    """Run ``fit``, ``validate`` or ``test`` (the first word) with the rest of the command line; the exit status."""
    words, debug = take_debug(argv)
    return guarded(lambda: _run(words), debug=debug)


def _run(words: list[str]) -> int:
    # Before anything is read: help is for those whose command line does not work yet.
    if not {"-h", "--help"}.isdisjoint(words):
        print(help_text(words[0]))
        return 0
    return _with_lightning(parse(words))


def _with_lightning(request: Request) -> int:
    """Everything that needs torch, which takes seconds to import."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from arlab.cli import stages
    from arlab.cli.quiet import quiet
    from arlab.discovery import discover

    quiet()
    discover()
    try:
        if "help_all" in request.flags:
            return stages.print_all_help()
        if "print_config" in request.flags:
            return stages.print_config(request)
        return stages.fit(request) if request.command == "fit" else stages.evaluate(request)
    except MisconfigurationException as error:
        raise ValueError(str(error)) from error
