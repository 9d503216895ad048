"""What laws have in common: they take a case, and raise an error that is meant for an author."""

from __future__ import annotations

from typing import Protocol, TypeVar

from arlab.configurable import Configurable, from_spec

Grid = tuple[int, ...]
C = TypeVar("C", bound=Configurable)


class LawBrokenError(ValueError):
    """A component breaks a law; the message says what that means, for its author."""


class Case(Protocol):
    """A component under the conditions that a law is tried in."""

    @property
    def component(self) -> Configurable:
        """What is tested."""

    @property
    def told(self) -> str:
        """The conditions beside the grid, in a few words; empty where there are none."""


def rebuilt(case: Case) -> None:
    """It can be written to a checkpoint, and what is rebuilt from the record has the same record."""
    component = case.component
    try:
        record = component.spec()
        again = from_spec(record, type(component)).spec()
    except (TypeError, ValueError) as error:
        raise LawBrokenError(f"it cannot be rebuilt from its record: {error}") from error
    if again != record:
        changed = [key for key, value in _arguments(record).items() if _arguments(again).get(key) != value]
        raise LawBrokenError(f"rebuilt from its record it has another: {', '.join(changed)} changed")


def fresh(component: C) -> C:
    """Another like it, as it was before it was used."""
    return from_spec(component.spec(), type(component))


def statement(law: object) -> str:
    """A law in one sentence: the first line of its documentation."""
    return (law.__doc__ or "").strip().split("\n")[0]


def shown(grid: Grid) -> str:
    """2x3 for (2, 3)."""
    return "x".join(map(str, grid))


def _arguments(record: dict[str, object]) -> dict[str, object]:
    arguments = record["init_args"]
    assert isinstance(arguments, dict)
    return arguments
