"""Import every component, so that all of them can be named without their module."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from arlab.configurable import from_spec

T = TypeVar("T")
PACKAGES = (
    "arlab.backbones",
    "arlab.callbacks",
    "arlab.data",
    "arlab.generators",
    "arlab.heads",
    "arlab.metrics",
    "arlab.optimization",
    "arlab.orderings",
    "arlab.pyramids",
    "arlab.tokenizers",
)


@functools.cache
def discover() -> None:
    """Import arlab's components, subpackages included; after the first time this does nothing."""
    for name in PACKAGES:
        module = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), prefix=f"{name}."):
            importlib.import_module(found.name)


def named(words: Sequence[str], expected: type[T]) -> T:
    """A component as one names it on a command line: its class, then its options as KEY=VALUE.

    Raises:
        ValueError: there is no such class of this kind, an option is not of this form, or the class does not take it.
    """
    discover()
    known = {cls.__name__: cls for cls in _below(expected) if not inspect.isabstract(cls)}
    name, *options = words
    if name not in known:
        raise ValueError(f"no {expected.__name__} is called {name!r}; there are: {', '.join(sorted(known))}")
    arguments: dict[str, object] = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"{name}: expected options as KEY=VALUE, got {option!r}")
        arguments[key] = _parsed(value, get_type_hints(known[name].__init__).get(key))
    try:
        return from_spec({"class_path": f"{known[name].__module__}.{name}", "init_args": arguments}, expected)
    except TypeError as error:
        raise ValueError(f"{name}: {error}") from error


def _parsed(word: str, hint: object) -> object:
    """The value a word stands for; where a text is wanted, a file's name may look like a number."""
    try:
        value: object = yaml.safe_load(word)
    except yaml.YAMLError:
        return word
    wanted = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return word if str in wanted and value is not None else value


def _below(cls: type[T]) -> Iterator[type[T]]:
    """The classes derived from one, itself first, as far as they are imported and do not hide."""
    if not cls.__name__.startswith("_") and "<locals>" not in cls.__qualname__:
        yield cls
    for derived in cls.__subclasses__():
        yield from _below(derived)
