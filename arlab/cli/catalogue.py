"""What there is to choose from: every component, its options and its paper, read off the code itself.

A *kind* is an abstract class right below ``Configurable`` (Ordering, Head, ...); whatever implements it, a plugin's
class too once it is imported, belongs to it. An abstract class below a kind (Traversal) is a *face* of it for authors.
Documentation is the class's docstring, options are its constructor's.
"""

from __future__ import annotations

import inspect
import re
import typing
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import docstring_parser
import lightning as L
import yaml

from arlab import plugins
from arlab.cli.errors import suggestion
from arlab.cli.papers import Paper, papers_in
from arlab.cli.stand_ins import stand_ins
from arlab.configurable import Configurable, to_plain

PARTS = "parts"
CALLBACKS = "callbacks"
WITHOUT_BASE = {
    CALLBACKS: "What happens beside training; they stand under trainer.callbacks",
    PARTS: "What there is one of",
}
_IRREGULAR = {
    "ImageData": "data",
    "Guidance": "guidance",
    "FeedForward": "feed_forward",
    "Rotary": "rotary",
    "Nowhere": "nowhere",
    "Similarity": "similarities",
}


@dataclass(frozen=True)
class Option:
    """A constructor argument.

    Attributes:
        name: the key in a configuration file.
        type: the annotation, as written.
        required: whether there is no default.
        default: the default as plain data.
        choices: names of the classes or members that may stand here, where the type is one of those.
        help: what it means.
    """

    name: str
    type: str
    required: bool
    default: object
    choices: tuple[str, ...]
    help: str


@dataclass(frozen=True)
class Component:
    """A class that a configuration can name, or a kind of them (then it is abstract)."""

    cls: type[Configurable]

    @property
    def name(self) -> str:
        """The bare name."""
        return self.cls.__name__

    @property
    def source(self) -> str:
        """Where it comes from: its module, or the plugin it is in."""
        plugin = plugins.source_of(self.cls)
        return self.cls.__module__ if plugin is None else f"plugin {plugin}"

    @property
    def base(self) -> type[Configurable] | None:
        """The abstract class of its kind; None for parts there is only one of."""
        return kind_of(self.cls)

    @property
    def abstract(self) -> bool:
        """Whether it is there to be subclassed: a kind, or a face of one for authors."""
        return inspect.isabstract(self.cls)

    @property
    def implementations(self) -> list[Component]:
        """The components that derive from it."""
        return [each for each in components() if issubclass(each.cls, self.cls) and each.cls is not self.cls]

    @property
    def kind(self) -> str:
        """The kind in words: orderings, heads, ..."""
        if self.base is None:
            return CALLBACKS if issubclass(self.cls, L.Callback) else PARTS
        return plural(self.base)

    @property
    def _description(self) -> str:
        return (_documentation(self.cls).description or "").replace("``", "`")

    @property
    def summary(self) -> str:
        """The first sentence of its documentation."""
        first = " ".join(self._description.split("\n\n")[0].split())
        sentence = re.match(r".+?[^\s.](?=\.(\s|$))", first)
        return sentence[0] if sentence else first

    @property
    def body(self) -> str:
        """Its documentation without arguments and papers."""
        paragraphs = self._description.split("\n\n")
        kept = [paragraph for paragraph in paragraphs if not Paper.fills(paragraph)]
        return "\n\n".join(kept).strip()

    @property
    def papers(self) -> list[Paper]:
        """The papers its documentation names."""
        return papers_in(inspect.getdoc(self.cls) or "")

    @cached_property
    def options(self) -> list[Option]:
        """Its constructor's arguments, in order."""
        owner = next((base for base in self.cls.__mro__ if "__init__" in base.__dict__), object)
        if not issubclass(owner, Configurable):
            return []
        told = {entry.arg_name: entry.description or "" for entry in _documentation(owner).params}
        hints = _hints(owner)
        return [
            Option(
                name=parameter.name,
                type=str(parameter.annotation),
                required=parameter.default is parameter.empty,
                default=None if parameter.default is parameter.empty else to_plain(parameter.default),
                choices=_choices(hints.get(parameter.name)),
                help=" ".join(told.get(parameter.name, "").replace("``", "`").split()),
            )
            for parameter in list(inspect.signature(owner.__init__).parameters.values())[1:]
        ]

    @property
    def stand_ins(self) -> dict[str, str]:
        """For options that are null by default: the class that stands in, where that can be told."""
        return {name: path.rpartition(".")[2] for name, path in stand_ins(self.cls).items()}

    @cached_property
    def places(self) -> list[tuple[type[Configurable], str, bool]]:
        """Where it goes: (class, option, whether the option is a list)."""
        wanted = self.base or self.cls
        return [
            (owner.cls, name, typing.get_origin(hint) is list or any("list" in str(t) for t in typing.get_args(hint)))
            for owner in components()
            for name, hint in _hints(owner.cls).items()
            if wanted in _classes(hint)
        ]

    def example(self) -> str:
        """YAML that puts it where it goes, with the defaults of its plain options."""
        arguments: dict[str, object] = {}
        for option in self.options:
            if option.required:
                arguments[option.name] = option.choices[0] if option.choices else "..."
            elif option.default is not None:
                arguments[option.name] = option.default
        value: object = {"class_path": self.name, "init_args": arguments} if arguments else self.name
        keys, many = self._keys()
        value = [value] if many else value
        for key in reversed(keys):
            value = {key: value}
        written: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True)
        return written

    def _keys(self) -> tuple[tuple[str, ...], bool]:
        """The keys above it, and whether it stands in a list."""
        if issubclass(self.cls, L.Callback):
            return ("trainer", "callbacks"), True
        # A tokenizer that is not trained (pixels) is never a model of its own, only a part of a generator.
        if issubclass(self.cls, L.LightningModule) and self.cls.training_step is not L.LightningModule.training_step:
            return ("model",), False
        if issubclass(self.cls, L.LightningDataModule):
            return ("data",), False
        return next((((name,), many) for _, name, many in self.places), ((snake(self.name),), False))


def components() -> list[Component]:
    """Every concrete component that is imported, by kind and name."""
    found = [Component(cls) for cls in _subclasses(Configurable) if _offered(cls) and not inspect.isabstract(cls)]
    return sorted(found, key=lambda component: ((kind := component.kind) == PARTS, kind, component.name))


def kinds() -> dict[str, Component]:
    """The abstract class of each kind, under the kind's name."""
    return {component.kind: Component(component.base) for component in components() if component.base is not None}


def faces() -> list[Component]:
    """Abstract classes below a kind: an author may subclass one of them instead of the kind itself."""
    found = [Component(cls) for cls in _subclasses(Configurable) if _offered(cls) and inspect.isabstract(cls)]
    return sorted((each for each in found if each.base is not each.cls), key=lambda each: each.name)


def find(name: str) -> list[Component]:
    """The components, faces or kinds of this name (bare or full; letter case does not matter; orderings for Ordering).

    Raises:
        ValueError: there is none; the message offers the nearest.
    """
    everything = [*components(), *faces(), *kinds().values()]
    found = [
        component
        for component in everything
        if name.lower() in (component.name.lower(), f"{component.cls.__module__}.{component.name}".lower())
    ]
    if not found:
        word = name.lower().replace("-", "_")
        if word in WITHOUT_BASE:
            raise ValueError(f"{word} have no class in common that could be described; see `arlab list {word}`")
        found = [kind for kind in kinds().values() if word in _aliases(kind)]
    if not found:
        known = [component.name for component in everything]
        raise ValueError(f"no component is called {name!r}.{suggestion(name, known)}{plugins.left_out()}")
    return found


def of_kind(name: str) -> list[Component]:
    """The components of a kind (orderings, ordering, Ordering), and then its faces for authors.

    Raises:
        ValueError: there is no such kind.
    """
    wanted = name.lower().replace("-", "_")
    names = {alias: kind for kind, base in kinds().items() for alias in _aliases(base)}
    names |= {kind: kind for kind in WITHOUT_BASE}
    if wanted not in names:
        raise ValueError(f"no kind of component is called {name!r}.{suggestion(name, names.values())}")
    return [component for component in [*components(), *faces()] if component.kind == names[wanted]]


def kind_of(cls: type) -> type[Configurable] | None:
    """The outermost abstract component class a class derives from."""
    above = (base for base in reversed(cls.__mro__) if issubclass(base, Configurable) and inspect.isabstract(base))
    return next(above, None)


def plural(base: type) -> str:
    """orderings for Ordering."""
    return _IRREGULAR.get(base.__name__) or snake(base.__name__).removesuffix("s") + "s"


def snake(name: str) -> str:
    """feed_forward for FeedForward, qk_norm for QKNorm."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _aliases(base: Component) -> set[str]:
    return {base.kind, base.name.lower(), snake(base.name), snake(base.name) + "s"}


def _offered(cls: type[Configurable]) -> bool:
    """Not classes that hide, exist inside a function only, speak for another component, or of a plugin left out.

    Nor families of released weights, which no configuration names.
    """
    hides = cls.__name__.startswith("_") or "<locals>" in cls.__qualname__ or not plugins.offered(cls)
    hides = hides or cls.__module__.startswith("arlab.checkpoints.")
    return not hides and cls.spec is Configurable.spec


def _subclasses(cls: type[Configurable]) -> list[type[Configurable]]:
    found: dict[type[Configurable], None] = {}
    for below in cls.__subclasses__():
        found |= {below: None} | dict.fromkeys(_subclasses(below))
    return list(found)


def _documentation(cls: type) -> docstring_parser.Docstring:
    return docstring_parser.parse(inspect.getdoc(cls) or "", docstring_parser.DocstringStyle.GOOGLE)


def _hints(cls: type) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(inspect.unwrap(cls.__init__))  # type: ignore[misc]
    except (NameError, AttributeError, TypeError):
        return {}
    hints.pop("return", None)
    return hints


def _classes(hint: object) -> set[type]:
    """Every class an annotation mentions."""
    inner = [_classes(argument) for argument in typing.get_args(hint)]
    return set().union(*inner, {hint} if isinstance(hint, type) else set())


def _choices(hint: object) -> tuple[str, ...]:
    names: list[str] = []
    for cls in _classes(hint):
        if issubclass(cls, Enum):
            names += cls.__members__
        elif issubclass(cls, Configurable):
            names += [component.name for component in components() if issubclass(component.cls, cls)]
    return tuple(names)
