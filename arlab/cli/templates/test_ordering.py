"""MyOrdering obeys the laws: pytest plugins/test_my_ordering.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from arlab import plugins
from arlab.conformance.laws import LAWS, Subject
from arlab.discovery import named
from arlab.orderings.ordering import Ordering
from arlab.orderings.step import Layout

plugins.load(Path(__file__).with_name("my_ordering.py"))
GRIDS = ((3, 3), (2, 3), (4, 2), (1, 5), (2, 2, 3))
OPTIONS: tuple[list[str], ...] = ([],)  # [["per_step=2"], ...] tries others than the defaults


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_law_holds(options: list[str], grid: tuple[int, ...], law: Callable[[Subject], None]) -> None:
    ordering = named(["MyOrdering", *options], Ordering, "ordering")
    law(Subject(ordering, Layout((grid,))))
