"""Plugins: Python files whose classes can be named in configurations like arlab's own.

A checkpoint records the plugins its model was made of by path and content. They are executed again only where a file
has exactly the recorded content, or where the user names the file: no checkpoint brings code of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = "arlab_plugins"


@dataclass(frozen=True)
class Plugin:
    """A plugin that was executed.

    Attributes:
        module: the name its classes are found under, ``arlab_plugins.<file name without suffix>``.
        path: where the file was.
        sha256: of its content.
    """

    module: str
    path: str
    sha256: str


_LOADED: dict[str, Plugin] = {}
_RESTORED: set[str] = set()


def load(file: str | Path, sha256: str | None = None) -> Plugin:
    """Execute a file, so that its classes can be named; a file that was executed already is left alone.

    Args:
        file: the plugin.
        sha256: what its content must be.

    Raises:
        ValueError: there is no such Python file, its content is another (it is not executed then), it raises an error,
            or another plugin has its name.
    """
    path = Path(file)
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise ValueError(f"plugins: {file}: a plugin is one Python file, named like a Python module: my_ordering.py")
    if not path.is_file():
        raise ValueError(f"plugins: no such file: {file}")
    content = path.read_bytes()
    plugin = Plugin(f"{PACKAGE}.{path.stem}", path.as_posix(), hashlib.sha256(content).hexdigest())
    if sha256 not in (None, plugin.sha256):
        raise ValueError(
            f"made with the plugin {path} as it was (sha256 {str(sha256)[:8]}), now it is another (sha256 "
            f"{plugin.sha256[:8]}) and is not executed; bring it back, or name it to use it as it is: --plugins {path}"
        )
    before = _LOADED.get(plugin.module)
    if before is not None:
        if before.sha256 != plugin.sha256:
            raise ValueError(f"plugins: {file}: another file of this name is loaded already, {before.path}; rename one")
        return before
    _execute(plugin, content)
    _LOADED[plugin.module] = plugin
    return plugin


def load_all(files: Sequence[str | Path]) -> None:
    """Execute several files."""
    for file in files:
        load(file)


def _execute(plugin: Plugin, content: bytes) -> None:
    if PACKAGE not in sys.modules:
        sys.modules[PACKAGE] = ModuleType(PACKAGE)
        sys.modules[PACKAGE].__path__ = []
    spec = importlib.util.spec_from_file_location(plugin.module, plugin.path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[plugin.module] = module
    try:
        # What was hashed is what is executed, whatever happens to the file meanwhile.
        exec(compile(content, plugin.path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[plugin.module]
        line = _line(error, plugin.path)
        raise ValueError(f"plugins: {plugin.path}{line}: {type(error).__name__}: {error}") from error


def _line(error: BaseException, path: str) -> str:
    """Where in the plugin it happened."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    number, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            number = trace.tb_lineno
        trace = trace.tb_next
    return "" if number is None else f", line {number}"


def used(*specs: object) -> list[Plugin]:
    """The plugins that the classes in these specs, and those they derive from, come from, in order of their names."""
    named = {module for spec in specs for module in _modules(spec)}
    return [_LOADED[name] for name in sorted(named & _LOADED.keys())]


def _modules(spec: object) -> Iterator[str]:
    if isinstance(spec, Mapping):
        if isinstance(spec.get("class_path"), str):
            module, _, name = spec["class_path"].rpartition(".")
            cls = getattr(sys.modules.get(module), name, None)
            yield from (base.__module__ for base in cls.__mro__) if isinstance(cls, type) else (module,)
        for value in spec.values():
            yield from _modules(value)
    elif isinstance(spec, (list, tuple)):
        for item in spec:
            yield from _modules(item)


def record(*specs: object) -> list[dict[str, str]]:
    """What a checkpoint says of the plugins its model was made of."""
    return [asdict(plugin) for plugin in used(*specs)]


def restore(records: Sequence[Mapping[str, Any]]) -> None:
    """Execute the plugins a checkpoint was made with, each only if its file is still what it was.

    A plugin that the user has named is taken as it is.

    Raises:
        ValueError: a file is missing or has changed (it has not been executed then), or another model of this process
            was made with another plugin of the same name.
    """
    for entry in records:
        if not (isinstance(entry, Mapping) and {"module", "path", "sha256"} <= entry.keys()):
            raise ValueError("its record of plugins is not as arlab writes it")
        path = Path(str(entry["path"]))
        module, loaded = str(entry["module"]), _LOADED.get(str(entry["module"]))
        if loaded is None:
            if not path.is_file():
                raise ValueError(f"made with the plugin {path}, which is not there; name it: --plugins FILE")
            load(path, str(entry["sha256"]))
            _RESTORED.add(module)
        elif module in _RESTORED and loaded.sha256 != entry["sha256"]:
            raise ValueError(
                f"made with the plugin {path} (sha256 {str(entry['sha256'])[:8]}), but an earlier model brought "
                f"another of this name, {loaded.path} (sha256 {loaded.sha256[:8]}); load them in processes of their own"
            )
