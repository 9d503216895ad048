"""What a configuration may say: constructor annotations are the schema, and every mistake is told with its key.

A tree that passes has full class paths, ``init_args`` everywhere, and leaves of the annotated types.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import math
import types
import typing
from collections.abc import Iterable, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import ArgumentParser

from arlab import plugins
from arlab.callbacks.run_checkpoints import Best
from arlab.cli.config import Tree
from arlab.cli.errors import suggestion
from arlab.cli.stand_ins import stand_ins
from arlab.cli.trainer_options import check_trainer
from arlab.configurable import Configurable
from arlab.data.data import ImageData
from arlab.generators.generator import Generator
from arlab.tokenizers.tokenizer import Tokenizer

_TOP: dict[str, Any] = {
    "model": Tokenizer | Generator,
    "data": ImageData,
    "trainer": None,
    "seed_everything": bool | int,
    "best": Best,
    "ckpt_path": str | None,
    "experiment": str | None,
    "plugins": list[str],
    "run_root": str | None,
    "start": str | None,
    "tokenizer": dict[str, Any],
}
_PLAIN = (bool, int, float, str, type(None))


def checked(tree: Tree) -> Tree:
    """The tree with classes found and leaves converted.

    Raises:
        ValueError: naming the key, the value and the choices.
    """
    _refuse_unknown(tree, _TOP, "key", "")
    for key in ("model", "data"):
        if key not in tree:
            raise ValueError(f"{key}: missing; give --config FILE or --{key} NAME")
    result = {key: resolve(value, _TOP[key], key) for key, value in tree.items() if key != "trainer"}
    _check_plain(result)
    trainer = {} if tree.get("trainer") is None else tree["trainer"]
    if isinstance(trainer, Mapping) and "class_path" in trainer:
        trainer = trainer["class_path"]
    if not isinstance(trainer, Mapping):
        raise ValueError(f"trainer: expected options of the Trainer, got {trainer!r}")
    hints = options(L.Trainer)
    _refuse_unknown(trainer, hints, "option", "trainer", "Trainer")
    if trainer.get("default_root_dir") not in (None, "null"):
        raise ValueError(
            f"trainer.default_root_dir: got {trainer['default_root_dir']!r}; runs lie below --run_root, use that"
        )
    result["trainer"] = {key: resolve(value, hints[key], f"trainer.{key}") for key, value in trainer.items()}
    check_trainer(result["trainer"])
    return result


def _check_plain(top: Tree) -> None:
    seed = top.get("seed_everything", 0)
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed_everything: must be in 0 .. {2**32 - 1}, or true or false, got {seed}")
    name = top.get("experiment")
    if name is not None and (Path(name).is_absolute() or ".." in Path(name).parts or not name.strip("/. ")):
        raise ValueError(f"experiment: expected the name of a folder below the runs, got {name!r}")


def resolve(value: Any, hint: Any, at: str) -> Any:
    """A value checked against an annotation."""
    members = _members(hint)
    if value in (None, "null") and type(None) in members:
        return None
    if isinstance(value, list):
        inner = next((typing.get_args(m)[0] for m in members if typing.get_origin(m) is list), None)
        if inner is not None:
            return [resolve(item, inner, f"{at}[{i}]") for i, item in enumerate(value)]
    kinds = [member for member in members if _is_component(member)]
    if kinds and (value is None or (value == "null" and str not in members)):
        raise ValueError(f"{at}: expected {_type_name(hint)}, got null")
    if kinds and isinstance(value, Mapping):
        return _component(value, kinds, at)
    if kinds and isinstance(value, str) and (str not in members or value in named(tuple(kinds))):
        return _component({"class_path": value}, kinds, at)
    record = next((member for member in members if dataclasses.is_dataclass(member)), None)
    if record is not None and isinstance(value, Mapping):
        hints = typing.get_type_hints(record)
        _refuse_unknown(value, hints, "option", at)
        return {key: resolve(item, hints[key], f"{at}.{key}") for key, item in value.items()}
    return _leaf(value, hint, at)


def _component(spec: Mapping[str, Any], kinds: list[type], at: str) -> Tree:
    if "class_path" in spec:
        if not isinstance(spec["class_path"], str):
            raise ValueError(f"{at}: class_path: expected the name of a class, got {spec['class_path']!r}")
        cls, given = _class(spec["class_path"], kinds, at), spec.get("init_args", {})
    elif len(kinds) == 1 and not inspect.isabstract(kinds[0]):
        cls, given = kinds[0], spec
    else:
        names = ", ".join(sorted(named(tuple(kinds))))
        raise ValueError(f"{at}: has options but no class_path; name a class first, one of {names}")
    hints = options(cls)
    variadic = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())
    if not variadic:
        _refuse_unknown(given, hints, "option", at, cls.__name__)
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is parameter.empty and name in hints and name not in given:
            choices = sorted(named(tuple(m for m in _members(hints[name]) if _is_component(m))))
            offer = f", one of {', '.join(choices)}" if choices else ""
            raise ValueError(f"{at}.{name}: {cls.__name__} needs it{offer}")
    arguments = {
        key: resolve(_of_default(cls, key, value, hints[key]), hints[key], f"{at}.{key}") if key in hints else value
        for key, value in given.items()
    }
    return {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": arguments}


def _of_default(owner: type, key: str, value: Any, hint: Any) -> Any:
    """Options that are given without a class belong to the part that stands there by default."""
    kinds = [member for member in _members(hint) if _is_component(member)]
    wanting = isinstance(value, Mapping) and bool(value) and "class_path" not in value
    if not wanting or not kinds or not all(map(inspect.isabstract, kinds)):
        return value
    names = named(tuple(kinds))
    only = next(iter(names)) if len(names) == 1 else None
    name = stand_ins(owner).get(key, only)
    return value if name is None else {"class_path": name, "init_args": value}


def _class(name: str, kinds: list[type], at: str) -> type:
    expected = " or ".join(kind.__name__ for kind in kinds)
    if "." not in name:
        found = named(tuple(kinds)).get(name, [])
        if len(found) > 1:
            paths = ", ".join(f"{cls.__module__}.{name}" for cls in found)
            raise ValueError(f"{at}: several classes are named '{name}'; give the full path, one of {paths}")
        if not found:
            told = f"{_what_else(name, expected)}.{suggestion(name, named(tuple(kinds)))}"
            raise ValueError(f"{at}: {told}{plugins.left_out()}")
        return found[0]
    if not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{at}: {name!r} is no name of a class.{suggestion(name, named(tuple(kinds)))}")
    module, _, last = name.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), last)
    except ImportError as error:
        raise ValueError(f"{at}: {name}: {error}.{plugins.left_out()}".removesuffix(".")) from error
    except AttributeError as error:
        raise ValueError(f"{at}: module '{module}' has no class '{last}'") from error
    if not (isinstance(cls, type) and issubclass(cls, tuple(kinds))):
        raise ValueError(f"{at}: {name} is no {expected}.{suggestion(last, named(tuple(kinds)))}")
    if inspect.isabstract(cls):
        raise ValueError(f"{at}: {_what_else(last, expected)}.{suggestion(last, named(tuple(kinds)))}")
    return cls


def _what_else(name: str, expected: str) -> str:
    """What a name that is no class of the kind is instead."""
    below = _below((Configurable, L.Callback))
    other = next((cls for cls in below if cls.__name__ == name and plugins.offered(cls)), None)
    if other is None:
        return f"no class named '{name}' is loaded"
    if inspect.isabstract(other):
        return f"'{name}' is abstract, a base to write classes from"
    bases = [base for base in other.__mro__[1:] if _is_component(base) and base not in (Configurable, L.Callback)]
    kind = next((base for base in reversed(bases) if inspect.isabstract(base)), None)
    return (
        f"'{name}' is {'a component' if kind is None else f'of the kind {kind.__name__}'}, not of the kind {expected}"
    )


def options(cls: type) -> dict[str, Any]:
    """The constructor arguments of a class with their annotations."""
    init = inspect.unwrap(vars(cls).get("__init__") or cls.__init__)  # type: ignore[misc]
    try:
        hints = typing.get_type_hints(init)
    except (NameError, TypeError):
        hints = {}
    taken = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {name: hints.get(name, Any) for name, p in inspect.signature(cls).parameters.items() if p.kind in taken}


def named(kinds: tuple[type, ...]) -> dict[str, list[type]]:
    """Concrete classes of these kinds by bare name."""
    found: dict[str, list[type]] = {}
    for cls in _below(kinds):
        hides = cls.__name__.startswith("_") or "<locals>" in cls.__qualname__ or not plugins.offered(cls)
        if not (hides or inspect.isabstract(cls)):
            found.setdefault(cls.__name__, []).append(cls)
    return found


def _below(kinds: Iterable[type]) -> list[type]:
    """These classes and all that derive from them."""
    found: dict[type, None] = {}
    pending = list(kinds)
    while pending:
        cls = pending.pop()
        if cls not in found:
            found[cls] = None
            pending += cls.__subclasses__()
    return list(found)


def _refuse_unknown(given: Iterable[str], known: Iterable[str], what: str, at: str, owner: str = "it") -> None:
    for key in given:
        if key not in known:
            where = f"{at}: {owner} has no {what} '{key}'." if at else f"unknown {what} '{key}'."
            raise ValueError(f"{where}{suggestion(key, known)}")


def _leaf(value: Any, hint: Any, at: str) -> Any:
    if hint is Any:
        return value
    # The parser takes null for an option that was left out.
    if value is None and type(None) not in _members(hint):
        raise ValueError(f"{at}: expected {_type_name(hint)}, got null")
    # ``int | float`` and ``float | int`` are equal, so the parser kept for one serves the other: a number of batches
    # must not become a share.
    hint = int if type(value) is int and {int, float} <= set(_members(hint)) else hint
    try:
        converted = _parser(hint).parse_object({"value": value}).value
    except (argparse.ArgumentError, OverflowError) as error:
        raise ValueError(f"{at}: expected {_type_name(hint)}, got {_shown(value)}") from error
    for number in converted if isinstance(converted, (list, tuple)) else [converted]:
        _refuse_extreme(number, at)
    plain = isinstance(converted, _PLAIN) or (
        isinstance(converted, (list, tuple)) and all(isinstance(item, _PLAIN) for item in converted)
    )
    return converted if plain else value


def _refuse_extreme(number: object, at: str) -> None:
    """No setting is infinite or larger than what a tensor can count."""
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"{at}: must be a finite number, got {number}")
    if isinstance(number, int) and not -(2**63) <= number < 2**63:
        raise ValueError(f"{at}: must fit into 64 bits, got {_shown(number)}")


def _shown(value: object) -> str:
    """A value as it is told: not at any length."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."


@cache
def _parser(hint: Any) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    return parser


def _members(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _is_component(hint: Any) -> bool:
    return isinstance(hint, type) and typing.get_origin(hint) is None and issubclass(hint, (Configurable, L.Callback))


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_name(member) for member in arguments)
    if origin is typing.Literal:
        # The Trainer's precision names some values as words and as numbers.
        return " or ".join({str(value): repr(value) for value in arguments}.values())
    if origin is list:
        return f"a list of {_type_name(arguments[0])}"
    if origin is tuple:
        return f"[{', '.join('...' if member is Ellipsis else _type_name(member) for member in arguments)}]"
    if hint is type(None):
        return "null"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(hint.__members__)
    if isinstance(hint, type) and origin is None:
        return hint.__name__
    return str(hint).replace("typing.", "")
