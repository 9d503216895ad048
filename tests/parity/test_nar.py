from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from arlab.generators.guidance import ConstantGuidance
from tests.goldens import golden
from tests.parity.llama import greedy
from tests.parity.measured import Measured
from tests.parity.nar import IO, QUANTITIES, UNTIL_TOKEN, published


@pytest.mark.parametrize("measure", QUANTITIES, ids=lambda function: function.__name__)
def test_equals_published(measure: Callable[[], Iterable[Measured]]) -> None:
    measured = list(measure())
    assert measured
    assert not [each for each in measured if not each.passed]


def test_interval_is_not_llamagens() -> None:
    """The same number guides one token less than in LlamaGen: the diagonal that starts with 21 known is free."""
    io = golden(IO)
    guidance = ConstantGuidance(guidance_scale=1.75, until_token=UNTIL_TOKEN + 1)
    assert (greedy(published(), io["gen_labels"], guidance) != io["greedy_cfgint"]).any()
