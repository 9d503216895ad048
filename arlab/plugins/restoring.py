"""The plugins a checkpoint was made with, brought back: only files that are what they were are executed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arlab.plugins import installed, registry
from arlab.plugins.registry import PACKAGE, Origin, Plugin
from arlab.plugins.sources import FOLDER


def restore(records: Sequence[Mapping[str, Any]]) -> None:
    """Execute the plugins a checkpoint was made with, each only if its file is still what it was.

    A plugin that the user has named is taken as it is.

    Raises:
        ValueError: a file is missing or has changed (it is not executed for the checkpoint's sake), or another model of
            this process was made with another plugin of the same name.
    """
    for entry in records:
        if not (isinstance(entry, Mapping) and {"module", "path", "sha256"} <= entry.keys()):
            raise ValueError("its record of plugins is not as arlab writes it")
        made = Plugin(str(entry["module"]), str(entry["path"]), str(entry["sha256"]))
        loaded = registry.loaded(made.module)
        if loaded is not None:
            _refuse_another(made, loaded)
        elif made.module.startswith(f"{PACKAGE}."):
            registry.load(_file(made), made.sha256, origin=Origin.RESTORED)
        else:
            _import(made)


def _file(made: Plugin) -> Path:
    """Where the plugin lies now: where it was, or in the working directory's ``plugins/``."""
    places = [path for path in (Path(made.path), Path(FOLDER, Path(made.path).name)) if path.is_file()]
    if not places:
        raise ValueError(f"made with the plugin {made.path}, which is not there; name it: --plugins FILE")
    same = [path for path in places if hashlib.sha256(path.read_bytes()).hexdigest() == made.sha256]
    return (same or places)[0]


def _import(made: Plugin) -> None:
    """Bring back an installed plugin; nothing but the packages that say they are plugins is ever imported."""
    entry = installed.holding(made.module)
    if entry is None:
        raise ValueError(f"made with the plugin {made.module} of {made.path}, which is not installed; install it")
    now = installed.content_of(made.module)
    if now != made.sha256:
        raise ValueError(
            f"made with the plugin {made.module} of {made.path} as it was (sha256 {made.sha256[:8]}), now it is "
            f"another ({installed.distribution(entry)}, sha256 {str(now)[:8]}) and is not executed; install that one, "
            f"or name it to use it as it is: --plugins {entry.name}"
        )
    installed.load(entry, Origin.RESTORED)


def _refuse_another(made: Plugin, loaded: Plugin) -> None:
    """See that the plugin of this name is the one that is wanted, or the user's own word."""
    origin = registry.origin_of(loaded)
    if origin is Origin.NAMED or loaded.sha256 == made.sha256:
        return
    if origin is Origin.RESTORED:
        raise ValueError(
            f"made with the plugin {made.path} (sha256 {made.sha256[:8]}), but an earlier model brought "
            f"another of this name, {loaded.path} (sha256 {loaded.sha256[:8]}); load them in processes of their own"
        )
    entry = installed.holding(loaded.module)
    raise ValueError(
        f"made with the plugin {made.path} as it was (sha256 {made.sha256[:8]}), now it is another ({loaded.path}, "
        f"sha256 {loaded.sha256[:8]}); bring it back, or name it to use it as it is: "
        f"--plugins {loaded.path if entry is None else entry.name}"
    )
