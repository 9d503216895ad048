"""A component remembers the arguments it was built with, so that it can be written down and rebuilt.

A *spec* is plain data: ``{"class_path": "arlab.heads.discrete.DiscreteHead", "init_args": {...}}``, the form that
configuration files use as well. A model built in Python and one built from YAML therefore write the same spec.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, cast

from arlab.key_paths import as_typed

Spec = Mapping[str, object]
_T = TypeVar("_T")
_BUILT_WITH = "_built_with"


class Configurable:
    """Base of every component: records the bound constructor arguments, defaults included."""

    def __init_subclass__(cls, **rest: object) -> None:
        super().__init_subclass__(**rest)
        if "__init__" in cls.__dict__:
            setattr(cls, "__init__", _recording(cls.__init__))  # noqa: B010  (mypy refuses a plain assignment)

    def spec(self) -> dict[str, object]:
        """Class path and constructor arguments as plain data."""
        built_with = cast("dict[str, object]", self.__dict__.get(_BUILT_WITH, {}))
        return {
            "class_path": f"{type(self).__module__}.{type(self).__qualname__}",
            "init_args": {name: to_plain(value) for name, value in built_with.items()},
        }

    def remember(self, name: str, value: object) -> None:
        """Replace a recorded argument by what it was resolved to (a path by the object loaded from it)."""
        built_with = cast("dict[str, object]", self.__dict__[_BUILT_WITH])
        built_with[name] = value


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: Configurable, *args: object, **named: object) -> None:
        # Only the outermost constructor speaks for the object, and it must do so before nn.Module.__init__ runs.
        if _BUILT_WITH not in self.__dict__:
            bound = signature.bind(self, *args, **named)
            bound.apply_defaults()
            object.__setattr__(self, _BUILT_WITH, dict(list(bound.arguments.items())[1:]))
            init(self, *args, **named)
            _resolve_defaults(self)
        else:
            init(self, *args, **named)

    return wrapped


def _resolve_defaults(component: Configurable) -> None:
    """Record the part that stood in for ``None``, so that a default that changes later does not change this record."""
    built_with = cast("dict[str, object]", component.__dict__[_BUILT_WITH])
    for name, value in built_with.items():
        resolved = getattr(component, name, None)
        if value is None and isinstance(resolved, Configurable):
            built_with[name] = resolved


def to_plain(value: object) -> object:
    """Plain data (safe to load with weights only) for a constructor argument."""
    if isinstance(value, Configurable):
        return value.spec()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a constructor argument of type {type(value).__name__} cannot be written to a checkpoint")


def from_spec(spec: Spec, expected: type[_T], at: str = "") -> _T:
    """Rebuild a component from its spec.

    Only subclasses of ``Configurable`` are built: those of arlab, which is imported on demand, and those of modules
    that are already imported (plugins). Nothing else named in a file is ever imported or called.

    Args:
        spec: the component.
        expected: what it must be.
        at: where it stands in a configuration, dotted, for what is told of its options; empty: in none.

    Raises:
        ValueError: the class is unknown, not of the expected type, or does not take the recorded arguments.
    """
    class_path = str(spec.get("class_path"))
    module_name, _, name = class_path.rpartition(".")
    if module_name.split(".")[0] == "arlab":
        try:
            importlib.import_module(module_name)
        except ImportError as error:
            raise ValueError(f"{class_path}: this version of arlab has no such class") from error
    cls = getattr(sys.modules.get(module_name), name, None)
    if not (isinstance(cls, type) and issubclass(cls, Configurable) and issubclass(cls, expected)):
        raise ValueError(f"{class_path} is not a known {expected.__name__} (a plugin? import it first)")
    parameters = inspect.signature(cls.__init__).parameters
    arguments = cast("Mapping[str, object]", spec.get("init_args", {}))
    unknown = sorted(set(arguments) - set(parameters))
    if unknown:
        raise ValueError(f"{class_path} has no option {', '.join(map(repr, unknown))}")
    try:
        inspect.signature(cls.__init__).bind(None, **arguments)
    except TypeError as error:
        raise ValueError(f"{class_path}: {error}") from error
    hints = _type_hints(cls)
    built = {key: _from_plain(value, hints.get(key), at and f"{at}.{key}") for key, value in arguments.items()}
    try:
        return cls(**built)
    except ValueError as error:
        told = as_typed(str(error), at, spec) if at else str(error)
        if told == str(error):
            raise
        raise ValueError(told) from error


def _from_plain(value: object, hint: Any, at: str) -> Any:
    """Undo ``to_plain`` where the data alone does not tell: nested components, dataclasses, enums and tuples."""
    if isinstance(value, Mapping) and "class_path" in value:
        return from_spec(value, Configurable, at)
    candidates = getattr(hint, "__args__", None) or ((hint,) if hint is not None else ())
    for candidate in candidates:
        if isinstance(value, Mapping) and dataclasses.is_dataclass(candidate):
            hints = _type_hints(cast(type, candidate))
            return cast(type, candidate)(
                **{k: _from_plain(v, hints.get(k), at and f"{at}.{k}") for k, v in value.items()}
            )
        if isinstance(value, str) and isinstance(candidate, type) and issubclass(candidate, Enum):
            return candidate[value]
    if isinstance(value, list):
        inner = next((c for c in candidates if c is not type(None)), None)
        items = [_from_plain(item, inner, at and f"{at}[{number}]") for number, item in enumerate(value)]
        is_tuple = any(typing.get_origin(c) is tuple or c is tuple for c in (hint, *candidates))
        return tuple(items) if is_tuple else items
    return value


def _type_hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls if dataclasses.is_dataclass(cls) else getattr(cls, "__init__"))  # noqa: B009
