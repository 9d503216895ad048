"""The plugins of this process: executing one, the classes it brings, and which of them a model is made of."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType

from arlab.plugins.clashes import refuse_clash

PACKAGE = "arlab_plugins"


class Origin(Enum):
    """Why a plugin was executed."""

    NAMED = "the user named it"
    FOUND = "it lay where plugins are looked for"
    RESTORED = "a checkpoint was made with it"


@dataclass(frozen=True)
class Plugin:
    """A module that was executed.

    Attributes:
        module: the name its classes are found under: ``arlab_plugins.<file name without suffix>``, or its own name
            where it is installed.
        path: where the file was; of an installed one, its distribution and version.
        sha256: of its content.
    """

    module: str
    path: str
    sha256: str


_LOADED: dict[str, Plugin] = {}
_ORIGIN: dict[str, Origin] = {}
_REFUSED: set[str] = set()


def load(file: str | Path, sha256: str | None = None, *, origin: Origin = Origin.NAMED) -> Plugin:
    """Execute a file, so that its classes can be named; a file that was executed already is left alone.

    Args:
        file: the plugin.
        sha256: what its content must be.
        origin: why; what the user names is taken as it is, whatever a checkpoint was made with.

    Raises:
        ValueError: there is no such Python file, its content is another (it is not executed then), it raises an error,
            another plugin has its name, or a class of it has the name of another component of its kind.
    """
    path = Path(file)
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise ValueError(
            f"plugins: {file}: a plugin is one Python file, named like a Python module (my_ordering.py), or a folder "
            "of such files"
        )
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
    if before is None:
        _execute(plugin, content, check=origin is not Origin.RESTORED)
        register(plugin, origin)
        return plugin
    if before.sha256 != plugin.sha256:
        raise ValueError(f"plugins: {file}: another file of this name is loaded already, {before.path}; rename one")
    register(before, origin)
    return before


def register(plugin: Plugin, origin: Origin) -> None:
    """Take a module that was executed as a plugin; what the user has named once stays named."""
    _LOADED[plugin.module] = plugin
    if _ORIGIN.get(plugin.module) is not Origin.NAMED:
        _ORIGIN[plugin.module] = origin
    _REFUSED.discard(plugin.module)


def refuse(modules: list[str]) -> None:
    """Offer no class of these modules, which cannot be forgotten since they are installed."""
    for module in modules:
        _LOADED.pop(module, None)
        _REFUSED.add(module)


def _execute(plugin: Plugin, content: bytes, *, check: bool) -> None:
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
        line, why = _line(error, plugin.path), error.msg if isinstance(error, SyntaxError) else error
        raise ValueError(f"plugins: {plugin.path}{line}: {type(error).__name__}: {why}") from error
    if check:
        try:
            refuse_clash(plugin.path, [plugin.module], paths())
        except ValueError:
            del sys.modules[plugin.module]
            raise


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


def loaded(module: str) -> Plugin | None:
    """The plugin that a module is."""
    return _LOADED.get(module)


def origin_of(plugin: Plugin) -> Origin:
    """Why it was executed."""
    return _ORIGIN[plugin.module]


def paths() -> dict[str, str]:
    """Where each plugin lies, by module."""
    return {plugin.module: plugin.path for plugin in _LOADED.values()}


def offered(cls: type) -> bool:
    """Whether a class can be named: not one of a plugin that was refused, or that failed after it was defined."""
    module = sys.modules.get(cls.__module__)
    return module is not None and cls.__module__ not in _REFUSED and getattr(module, cls.__name__, cls) is cls


def source_of(cls: type) -> str | None:
    """Where a plugin's class comes from, in short: its file, or its distribution; None for arlab's own."""
    plugin = _LOADED.get(cls.__module__)
    return None if plugin is None else plugin.path


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
