"""Two components of one kind may not share a bare name: a configuration could not tell which one it means."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence

from arlab.configurable import Configurable


def refuse_clash(path: str, modules: Sequence[str], plugins: Mapping[str, str]) -> None:
    """See that no class of a plugin is named like a component of its kind, arlab's own or another plugin's.

    Args:
        path: where the plugin lies.
        modules: the modules it consists of, which are imported.
        plugins: those loaded before: where each lies, by module.

    Raises:
        ValueError: naming both classes.
    """
    own = [cls for module in modules for cls in _components(module)]
    if not own:
        return

    from arlab.discovery import discover

    discover()
    for cls in own:
        for other in _below(_kind(cls)):
            where = other.__module__
            if other.__name__ != cls.__name__ or where in modules or not _is_alive(other):
                continue
            if where in plugins:
                raise ValueError(
                    f"plugins: {path}: the class {cls.__name__} is in the plugin {plugins[where]} already; rename one"
                )
            if where.partition(".")[0] == "arlab":
                raise ValueError(
                    f"plugins: {path}: the class {cls.__name__} has the name of arlab's own, "
                    f"{where}.{other.__name__}; rename it"
                )


def _components(module: str) -> Iterator[type]:
    """The components a module defines."""
    from lightning.pytorch import Callback

    for value in list(vars(sys.modules[module]).values()):
        hides = not isinstance(value, type) or value.__name__.startswith("_")
        if not hides and value.__module__ == module and issubclass(value, (Configurable, Callback)):
            yield value


def _kind(cls: type) -> type:
    """The outermost component class it derives from: abstract where there is one, as kinds are."""
    from lightning.pytorch import Callback

    above = [base for base in cls.__mro__ if issubclass(base, Configurable) and base is not Configurable]
    abstract = [base for base in above if inspect.isabstract(base)]
    if abstract:
        return abstract[-1]
    return Callback if issubclass(cls, Callback) else above[-1]


def _below(cls: type) -> Iterator[type]:
    """A class and all that derive from it."""
    yield cls
    below: list[type] = cls.__subclasses__()
    for derived in below:
        yield from _below(derived)


def _is_alive(cls: type) -> bool:
    """Whether its module still holds it: a plugin that failed may have defined classes before."""
    return getattr(sys.modules.get(cls.__module__), cls.__name__, None) is cls
