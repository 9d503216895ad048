from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from tests.goldens import MissingGoldenError
from tests.parity.mar import QUANTITIES
from tests.parity.measured import Measured


@pytest.mark.parametrize("measure", QUANTITIES, ids=lambda function: function.__name__)
def test_equals_published(measure: Callable[[], Iterable[Measured]]) -> None:
    try:
        measured = list(measure())
    except MissingGoldenError as missing:
        pytest.skip(str(missing))
    assert measured
    assert not [each for each in measured if not each.passed]
