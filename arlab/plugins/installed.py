"""Plugins that are installed: packages with an entry point that names a module.

[project.entry-points."arlab.plugins"]
spiral = "my_package.orderings"
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from arlab.plugins import registry
from arlab.plugins.clashes import refuse_clash
from arlab.plugins.registry import Origin, Plugin

GROUP = "arlab.plugins"


def entries() -> list[EntryPoint]:
    """The entry points there are, by name."""
    return sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.module))


def named(word: str) -> EntryPoint | None:
    """The entry point of this name, or of this module."""
    return next((entry for entry in entries() if word in (entry.name, entry.module)), None)


def holding(module: str) -> EntryPoint | None:
    """The entry point whose package a module belongs to."""
    return next((entry for entry in entries() if _belongs(module, entry)), None)


def load(entry: EntryPoint, origin: Origin) -> None:
    """Import an entry point's module; what it has imported of its own package counts as the plugin, too.

    Raises:
        ValueError: it raises an error, or a class of it has the name of another component of its kind.
    """
    path = distribution(entry)
    try:
        importlib.import_module(entry.module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"plugins: {entry.module} ({path}): {type(error).__name__}: {error}") from error
    files = dict(_files(entry))
    fresh = [name for name in files if registry.loaded(name) is None]
    if origin is not Origin.RESTORED:
        try:
            refuse_clash(f"{entry.module} ({path})", fresh, registry.paths())
        except ValueError:
            registry.refuse(fresh)
            raise
    for name, file in files.items():
        before = registry.loaded(name)
        made = Plugin(name, path, hashlib.sha256(file.read_bytes()).hexdigest()) if before is None else before
        registry.register(made, origin)


def distribution(entry: EntryPoint) -> str:
    """What it was installed with, as name and version."""
    return entry.value if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def content_of(module: str) -> str | None:
    """The SHA-256 of an installed module's file, found without importing anything; None where there is none."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    inner = [folder.joinpath(*rest) for folder in folders]
    files = [file for path in inner for file in (path / "__init__.py", path.with_suffix(".py"))]
    files += [Path(spec.origin)] if spec.origin is not None and not rest else []
    held = next((file for file in files if file.is_file()), None)
    return None if held is None else hashlib.sha256(held.read_bytes()).hexdigest()


def _files(entry: EntryPoint) -> Iterator[tuple[str, Path]]:
    """The modules of an entry point's package that are imported, and their files."""
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if _belongs(name, entry) and file is not None and file.endswith(".py"):
            yield name, Path(file)


def _belongs(module: str, entry: EntryPoint) -> bool:
    package = entry.module.rpartition(".")[0] or entry.module
    return module == package or module.startswith(package + ".")
