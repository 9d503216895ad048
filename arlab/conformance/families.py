"""The one registry: which kinds of components have laws, and under which conditions these are tried."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from arlab.configurable import Configurable
from arlab.conformance.head_laws import HEAD_LAWS
from arlab.conformance.head_subject import head_cases
from arlab.conformance.law import Case, Grid
from arlab.conformance.laws import LAWS
from arlab.conformance.pyramid_laws import PYRAMID_LAWS, pyramid_cases
from arlab.conformance.quantizer_laws import QUANTIZER_LAWS, quantizer_cases
from arlab.conformance.subject import ordering_cases
from arlab.conformance.tokenizer_laws import TOKENIZER_LAWS, tokenizer_cases
from arlab.data.facts import DataFacts
from arlab.heads.head import Head
from arlab.orderings.ordering import Ordering
from arlab.pyramids.pyramid import Pyramid
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokenizers.tokenizer import Tokenizer

GRIDS: tuple[Grid, ...] = ((3, 3), (2, 3), (1, 4), (5,), (2, 3, 2))
"""Square, neither side the same, a row, one axis, with time."""
SIZES: tuple[Grid, ...] = ((32, 32), (32, 48), (16, 64))
"""Of images, for tokenizers."""

_FACTS = "facts"


@dataclass(frozen=True)
class Family:
    """A kind of components and its laws.

    Attributes:
        base: the kind.
        laws: each takes a case and raises ``LawBrokenError``.
        cases: what the laws are tried on: the component on a grid, in several ways; ValueError where it refuses it.
        grids: that are tried.
        shrinks: whether smaller grids may be tried to find the smallest case.
    """

    base: type[Configurable]
    laws: tuple[Callable[[Any], None], ...]
    cases: Callable[[Any, Grid], Sequence[Case]]
    grids: tuple[Grid, ...] = GRIDS
    shrinks: bool = True


FAMILIES = (
    Family(Ordering, LAWS, ordering_cases),
    Family(Pyramid, PYRAMID_LAWS, pyramid_cases),
    Family(Head, HEAD_LAWS, head_cases),
    Family(Quantizer, QUANTIZER_LAWS, quantizer_cases),
    Family(Tokenizer, TOKENIZER_LAWS, tokenizer_cases, SIZES, shrinks=False),
)


def family_of(cls: type) -> Family | None:
    """The family of a class; None where its kind has no laws."""
    return next((family for family in FAMILIES if issubclass(cls, family.base)), None)


def by_default(cls: type[Configurable]) -> Configurable:
    """A component with its default options; those that ask for facts of data get a toy's.

    Raises:
        ValueError: an option has no default.
    """
    missing = needed(cls)
    if missing:
        options = " ".join(f"{name}=VALUE" for name in missing)
        raise ValueError(f"{cls.__name__} has no defaults; check it with options: arlab check {cls.__name__} {options}")
    facts = {_FACTS: DataFacts("toy", 1, (32, 32), ("a", "b"))}
    return cls(**(facts if _FACTS in inspect.signature(cls.__init__).parameters else {}))


def needed(cls: type[Configurable]) -> list[str]:
    """The options without which a component cannot be made, but for facts of data."""
    return [
        name
        for name, each in list(inspect.signature(cls.__init__).parameters.items())[1:]
        if each.default is each.empty
        and each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        and name != _FACTS
    ]


def discovered(base: type[Configurable]) -> list[type[Configurable]]:
    """Every concrete class of a kind in arlab itself."""
    from arlab.discovery import discover

    discover()
    found: dict[type[Configurable], None] = {}
    ahead = [base]
    while ahead:
        cls = ahead.pop()
        ahead += cls.__subclasses__()
        hides = cls.__name__.startswith("_") or cls.__module__.startswith("arlab.conformance")
        if cls.__module__.startswith("arlab.") and not hides and not inspect.isabstract(cls):
            found[cls] = None
    # Those that speak for another are no components.
    return sorted((cls for cls in found if cls.spec is Configurable.spec), key=lambda cls: cls.__name__)
