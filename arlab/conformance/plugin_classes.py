"""The components that plugins define."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from arlab import plugins
from arlab.configurable import Configurable
from arlab.plugins.sources import files_in


def is_plugin(path: Path) -> bool:
    """Whether a path is a Python file, or a folder of plugins."""
    return path.suffix == ".py" or (path.is_dir() and bool(files_in(path)))


def plugin_classes(path: Path) -> list[type[Configurable]]:
    """The concrete components in a file, or in all plugins of a folder; they are executed.

    Raises:
        ValueError: there is no such file, or it cannot be loaded.
    """
    files = files_in(path) if path.is_dir() else [path]
    if not files:
        raise ValueError(f"plugins: no plugin in {path}/")
    modules = [sys.modules[plugins.load(file).module] for file in files]
    return [
        value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Configurable)
        and value.__module__ == module.__name__
        and not name.startswith("_")
        and not inspect.isabstract(value)
    ]
