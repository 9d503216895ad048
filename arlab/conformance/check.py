"""Trying the laws on a component: a verdict for each law and grid, and for each broken law the smallest case."""

from __future__ import annotations

import itertools
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from arlab.configurable import Configurable
from arlab.conformance.families import Family, by_default
from arlab.conformance.law import Case, Grid, LawBrokenError, statement
from arlab.conformance.refusal import is_refusal

Law = Callable[[Any], None]
_MOST_CELLS = 64
_VARIES = re.compile(r"(level \d+ )?\([^)]*\)|\[[^\]]*\]|-?\d[\d.]*(e[+-]?\d+)?")
_DEFAULTS = ("defaults", "A component can be made with its default options.")


class Verdict(Enum):
    """What is known of a law on a grid."""

    OK = "ok"
    REFUSED = "refused"
    FAILED = "FAILED"
    NOT_TRIED = "-"
    """A law before it was broken there."""


@dataclass(frozen=True)
class Finding:
    """A law that is broken, in the smallest case that was found.

    Attributes:
        law: its name.
        statement: what it says.
        grid: the smallest grid it is broken on.
        told: the other conditions of the case.
        meaning: what the component does there.
    """

    law: str
    statement: str
    grid: Grid
    told: str
    meaning: str


@dataclass(frozen=True)
class Report:
    """What came of checking a component.

    Attributes:
        name: of its class.
        kind: in one word.
        grids: that were tried.
        laws: their names and statements.
        verdicts: by law and grid.
        refusals: why, by grid.
        findings: one for each broken law.
    """

    name: str
    kind: str
    grids: tuple[Grid, ...]
    laws: tuple[tuple[str, str], ...]
    verdicts: dict[tuple[str, Grid], Verdict]
    refusals: dict[Grid, str]
    findings: tuple[Finding, ...]

    @property
    def refused_everywhere(self) -> bool:
        """Whether there is no grid it takes."""
        return len(self.refusals) == len(self.grids) > 0

    @property
    def holds(self) -> bool:
        """Whether every law holds on every grid it takes, and it takes one."""
        return not self.findings and not self.refused_everywhere

    def on(self, grid: Grid) -> Verdict:
        """The verdict of all laws on a grid."""
        found = {self.verdicts[name, grid] for name, _ in self.laws}
        order = (Verdict.FAILED, Verdict.REFUSED, Verdict.OK)
        return next((each for each in order if each in found), Verdict.NOT_TRIED)


@dataclass(frozen=True)
class _Broken:
    law: Law
    told: str
    meaning: str


def check(component: Configurable, family: Family, grids: Sequence[Grid] | None = None) -> Report:
    """Try all laws on all grids.

    Args:
        component: what is tested.
        family: its laws.
        grids: to try; the family's where not given.
    """
    tried = tuple(dict.fromkeys(family.grids if grids is None else grids))
    verdicts: dict[tuple[str, Grid], Verdict] = {}
    refusals: dict[Grid, str] = {}
    broken: dict[Law, list[tuple[Grid, _Broken]]] = {law: [] for law in family.laws}
    for grid in tried:
        column, refusal = _try(component, family, grid)
        if refusal is not None:
            refusals[grid] = refusal
        reached = min((family.laws.index(each.law) for each in column), default=len(family.laws))
        failed = {each.law for each in column}
        for number, law in enumerate(family.laws):
            passed = Verdict.OK if number < reached else Verdict.NOT_TRIED
            verdict = Verdict.FAILED if law in failed else passed
            verdicts[law.__name__, grid] = verdict if refusal is None else Verdict.REFUSED
        for each in column:
            broken[each.law].append((grid, each))
    findings = tuple(_smallest(component, family, law, found) for law, found in broken.items() if found)
    laws = tuple((law.__name__, statement(law)) for law in family.laws)
    return Report(type(component).__name__, family.base.__name__, tried, laws, verdicts, refusals, findings)


def check_class(cls: type[Configurable], family: Family, grids: Sequence[Grid] | None = None) -> Report:
    """Try all laws on a component with its default options; that there are some is the first of them."""
    try:
        component = by_default(cls)
    except Exception as error:
        meant = isinstance(error, ValueError) and is_refusal(error, cls)
        said = str(error) if meant else told(error, cls)
        return Report(cls.__name__, family.base.__name__, (), (), {}, {}, (Finding(*_DEFAULTS, (), "", said),))
    return check(component, family, grids)


def _try(component: Configurable, family: Family, grid: Grid) -> tuple[list[_Broken], str | None]:
    """The law that is broken first in each case on this grid; why it is refused, where it is."""
    try:
        cases = family.cases(component, grid)
    except LawBrokenError as error:
        return [_Broken(family.laws[0], "", str(error))], None
    except Exception as error:
        if isinstance(error, ValueError) and is_refusal(error, type(component)):
            return [], " ".join(str(error).split())
        return [_Broken(family.laws[0], "", told(error, type(component)))], None
    return [first for case in cases if (first := first_broken(case, family.laws)) is not None], None


def first_broken(case: Case, laws: Sequence[Law]) -> _Broken | None:
    """The first law that a case breaks, by what it does or by an error it raises; None where all hold."""
    for law in laws:
        try:
            law(case)
        except LawBrokenError as error:
            return _Broken(law, case.told, str(error))
        except Exception as error:
            return _Broken(law, case.told, told(error, type(case.component)))
    return None


def _smallest(component: Configurable, family: Family, law: Law, found: list[tuple[Grid, _Broken]]) -> Finding:
    """Of a broken law the smallest case: on the smallest grid that was tried, or a smaller one.

    It is broken there as on the first grid that was tried, not in another way that only small grids have.
    """
    kind = _kind(found[0][1])
    grid, broken = min((each for each in found if _kind(each[1]) == kind), key=lambda each: math.prod(each[0]))
    for smaller in _below(grid) if family.shrinks else ():
        tried = _try(component, family, smaller)[0]
        own = next((each for each in tried if each.law is law and _kind(each) == kind), None)
        if own is not None:
            grid, broken = smaller, own
            break
    return Finding(law.__name__, statement(law), grid, broken.told, broken.meaning)


def _kind(broken: _Broken) -> str:
    """What is told, but for numbers and places."""
    return _VARIES.sub("#", broken.meaning)


def _below(grid: Grid) -> Iterator[Grid]:
    """Grids of as many axes with fewer cells, the smallest first."""
    if math.prod(grid) <= _MOST_CELLS:
        inside = itertools.product(*(range(1, side + 1) for side in grid))
        yield from sorted((each for each in inside if each != grid), key=lambda each: (math.prod(each), each))


def told(error: Exception, cls: type) -> str:
    """An error that a component raised, in one line, with the line of its own code.

    Where arlab's code raises it, without the component's own having been called, what the component returned was to
    blame.
    """
    files = {_file(each) for each in cls.__mro__ if not each.__module__.startswith("arlab.")} - {None}
    where, last, trace = None, None, error.__traceback__
    said = f"{type(error).__name__}: {' '.join(str(error).split())}"
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        last = f"{file.name}, line {trace.tb_lineno}"
        if file.resolve() in files:
            where = last
        trace = trace.tb_next
    if files and where is None:
        return f"arlab fails on what a method of it returned: {said} ({last})"
    return f"it raises {said} ({where or last})"


def _file(cls: type) -> Path | None:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return None if file is None else Path(file).resolve()
