"""Import every component, so that all of them can be named without their module."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from arlab import plugins
from arlab.configurable import Configurable, from_spec

T = TypeVar("T")
PACKAGES = (
    "arlab.backbones",
    "arlab.callbacks",
    "arlab.data",
    "arlab.features",
    "arlab.generators",
    "arlab.heads",
    "arlab.optimization",
    "arlab.orderings",
    "arlab.pyramids",
    "arlab.tokenizers",
)
# They are run, by ``python -m``, and hold no components.
_SCRIPTS = frozenset({"arlab.features.train_classifier"})
_PLAIN = (bool, int, float, str, type(None))


@functools.cache
def discover() -> None:
    """Import arlab's components, subpackages included; after the first time this does nothing."""
    for name in PACKAGES:
        module = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), prefix=f"{name}."):
            if found.name not in _SCRIPTS:
                importlib.import_module(found.name)


def named(words: Sequence[str], expected: type[T], key: str) -> T:
    """A component as one names it on a command line: its class, then its options as KEY=VALUE.

    Args:
        words: the class and its options.
        expected: the kind.
        key: the command's option that takes these words, for what is told.

    Raises:
        ValueError: there is no such class of this kind, an option is not of this form, missing, of another type, or
            the class does not take it.
    """
    discover()
    known = {cls.__name__: cls for cls in _below(expected) if not inspect.isabstract(cls)}
    name, *options = words
    if name not in known:
        there_are = f"there are: {', '.join(sorted(known))}"
        left_out = plugins.left_out()
        raise ValueError(f"{key}: no {expected.__name__} is called {name!r}; {there_are}{left_out and '.' + left_out}")
    taken = inspect.signature(known[name]).parameters
    hints = get_type_hints(known[name].__init__)
    told = f"its options: {', '.join(taken) or 'none'} (arlab describe {name})"
    arguments: dict[str, object] = {}
    for option in options:
        word, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"{key}: expected options of {name} as KEY=VALUE, got {option!r}")
        if word not in taken:
            raise ValueError(f"{key}: {name} has no option {word!r}; {told}")
        arguments[word] = _parsed(value, hints.get(word), f"{key}: {name}: {word}")
    missing = [word for word, each in taken.items() if each.default is each.empty and word not in arguments]
    if missing:
        raise ValueError(f"{key}: {name} needs {' '.join(f'{word}=VALUE' for word in missing)} behind it; {told}")
    try:
        return from_spec({"class_path": f"{known[name].__module__}.{name}", "init_args": arguments}, expected)
    except TypeError as error:
        raise ValueError(f"{key}: {name}: {error}") from error


def _parsed(word: str, hint: object, at: str) -> object:
    """The value a word stands for; where a text is wanted, a file's name may look like a number.

    Raises:
        ValueError: it is no number, or whatever else alone is wanted.
    """
    wanted = _members(hint)
    try:
        value: object = yaml.safe_load(word)
    except (yaml.YAMLError, ValueError, RecursionError):
        value = word
    if str in wanted and value is not None:
        return word
    if float in wanted and isinstance(value, str):
        # To YAML 1e-3 is a text.
        with contextlib.suppress(ValueError):
            value = float(value)
    plain = tuple(each for each in wanted if isinstance(each, type) and each in _PLAIN)
    if len(plain) == len(wanted) and not isinstance(value, (*plain, *((int,) if float in plain else ()))):
        names = " or ".join("null" if each is type(None) else each.__name__ for each in plain)
        raise ValueError(f"{at}: expected {names}, got {word!r}")
    return _located(value, hint, at)


def _located(value: object, hint: object, at: str) -> object:
    """The same with every part, given by the bare name of its class or as {class_path, init_args}, named in full.

    Raises:
        ValueError: there is no such part, or options are given of none.
    """
    members = _members(hint)
    lists = [each for each in members if get_origin(each) in (list, tuple)]
    inner = get_args(lists[0])[0] if lists else None
    numbers = inner in (int, float)
    if len(lists) == len(members) and not ((isinstance(value, list) and all(map(_number, value))) or not numbers):
        raise ValueError(f"{at}: expected numbers, as [1,2], got {value!r}")
    if isinstance(value, list):
        return [_located(each, inner, f"{at}[{k}]") for k, each in enumerate(value)]
    kinds = [each for each in members if isinstance(each, type) and issubclass(each, Configurable)]
    if not kinds or str in members or not isinstance(value, (str, dict)):
        return value
    known = {cls.__name__: cls for kind in kinds for cls in _below(kind) if not inspect.isabstract(cls)}
    part: dict[str, object] = {"class_path": value} if isinstance(value, str) else value
    path, given = str(part.get("class_path", "")), part.get("init_args")
    if "." in path:
        return part
    if path not in known:
        got = f"got {path!r}" if path else "got options without class_path"
        raise ValueError(f"{at}: expected one of {', '.join(sorted(known))}, {got}")
    cls = known[path]
    hints = get_type_hints(cls.__init__)
    given = given if isinstance(given, dict) else {}
    options = {key: _located(each, hints.get(key), f"{at}.{key}") for key, each in given.items()}
    return {"class_path": f"{cls.__module__}.{path}", "init_args": options}


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _members(hint: object) -> tuple[object, ...]:
    """The types of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _below(cls: type[T]) -> Iterator[type[T]]:
    """The classes derived from one, itself first, as far as they are imported and do not hide."""
    if not cls.__name__.startswith("_") and "<locals>" not in cls.__qualname__ and plugins.offered(cls):
        yield cls
    for derived in cls.__subclasses__():
        yield from _below(derived)
