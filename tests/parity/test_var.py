from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.parity.measured import Measured
from tests.parity.var import QUANTITIES


@pytest.mark.parametrize("measure", QUANTITIES, ids=lambda function: function.__name__)
def test_equals_published(measure: Callable[[], Iterable[Measured]]) -> None:
    measured = list(measure())
    assert measured
    assert not [each for each in measured if not each.passed]
