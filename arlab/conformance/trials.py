"""The laws as tests: one for each component, grid and law."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from arlab.configurable import Configurable
from arlab.conformance.families import Family, by_default, family_of
from arlab.conformance.law import Case, Grid, shown
from arlab.conformance.refusal import is_refusal


class RefusedError(ValueError):
    """A component does not take a grid; no law says that it must."""


@dataclass(frozen=True)
class Trial:
    """A law on a grid.

    Attributes:
        cls: the component's class; it is made with its default options.
        family: its kind.
        grid: the grid.
        law: the law.
    """

    cls: type[Configurable]
    family: Family
    grid: Grid
    law: Callable[[Any], None]

    @property
    def name(self) -> str:
        """Of the test."""
        return f"{self.cls.__name__}-{shown(self.grid)}-{self.law.__name__}"

    def run(self) -> None:
        """Try the law in every case there is on the grid.

        Raises:
            LawBrokenError: it is broken.
            RefusedError: the component does not take this grid.
        """
        for case in _cases(self.cls, self.family, self.grid):  # type: ignore[arg-type]  # mypy asks its instances for a hash
            self.law(case)


@lru_cache(maxsize=1)
def _cases(cls: type[Configurable], family: Family, grid: Grid) -> Sequence[Case]:
    """What is tried on a grid; its laws, one after the other, share it, as they do where ``check`` tries them."""
    try:
        return family.cases(by_default(cls), grid)
    except ValueError as error:
        if not is_refusal(error, cls):
            raise
        raise RefusedError(str(error)) from error


def trials(classes: Iterable[type[Configurable]]) -> list[Trial]:
    """All laws on all grids for the components that have laws."""
    pairs = [(cls, family) for cls in classes if (family := family_of(cls)) is not None]
    return [Trial(cls, family, grid, law) for cls, family in pairs for grid in family.grids for law in family.laws]


def takes_some_grid(trials_of_one: Sequence[Trial]) -> bool:
    """Whether the component takes any of the grids it is tried on."""
    first = trials_of_one[0]
    component = by_default(first.cls)
    for grid in first.family.grids:
        try:
            first.family.cases(component, grid)
        except ValueError as error:
            if is_refusal(error, first.cls):
                continue
        return True
    return False
