"""Where plugins come from: files and folders that are named, the working directory's folder, installed packages.

What is named as a file must load. What is found by itself and does not load is told in one line and left out; who then
names a class that is not there is told again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from arlab.plugins import installed, registry
from arlab.plugins.registry import PACKAGE, Origin

FOLDER = "plugins"
_LEFT_OUT: dict[str, str] = {}


def load_all(words: Iterable[str | Path]) -> None:
    """Execute the plugins that are named, then those that are found.

    Raises:
        ValueError: one that is named as a file cannot be loaded.
    """
    load_named(words)
    load_found()


def load_found() -> None:
    """Execute the plugins of installed packages and of the working directory's ``plugins/``, as far as they load.

    Commands that load a checkpoint do so first: a file that has changed since is then refused, not executed.
    """
    for entry in installed.entries():
        _try(entry.module, partial(installed.load, entry, Origin.FOUND))
    if Path(FOLDER).is_dir():
        _load_folder(Path(FOLDER), Origin.FOUND)


def load_named(words: Iterable[str | Path]) -> None:
    """Execute plugins that are named: files, folders (each file right in them), or names of installed ones.

    Raises:
        ValueError: there is no such plugin, or a file cannot be loaded.
    """
    for word in words:
        path = Path(word)
        if path.is_dir():
            if not files_in(path):
                raise ValueError(f"plugins: no plugin in {path}/: no *.py that does not begin with '_' or 'test_'")
            _load_folder(path, Origin.NAMED)
            continue
        entry = None if path.suffix == ".py" else installed.named(str(word))
        if entry is None:
            registry.load(path)
        else:
            installed.load(entry, Origin.NAMED)


def files_in(folder: Path) -> list[Path]:
    """The plugins of a folder: its Python files that neither hide nor are tests."""
    return sorted(file for file in folder.glob("*.py") if not file.name.startswith(("_", "test_")) and file.is_file())


def left_out() -> str:
    """What to add to the message that a class is not known: the plugins that were left out, and why."""
    return "".join(f" Plugin left out: {why}." for why in _LEFT_OUT.values())


def found_files(*specs: object) -> list[str]:
    """The files that the classes in these specs come from, as far as nobody has named them."""
    return [
        plugin.path
        for plugin in registry.used(*specs)
        if plugin.module.startswith(f"{PACKAGE}.") and registry.origin_of(plugin) is Origin.FOUND
    ]


def _load_folder(folder: Path, origin: Origin) -> None:
    for file in files_in(folder):
        _try(str(file), partial(registry.load, file, origin=origin))


def _try(what: str, load: Callable[[], object]) -> None:
    """Load it, or leave it out and tell so; but once where it is both named and found."""
    try:
        load()
        _LEFT_OUT.pop(what, None)
    except (ValueError, OSError) as error:
        why = " ".join(str(error).removeprefix("plugins: ").split())
        if _LEFT_OUT.get(what) != why:
            _LEFT_OUT[what] = why
            print(f"arlab: plugin left out: {why}", file=sys.stderr)
