from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from arlab.generators.captions import Captions
from arlab.generators.guidance import ConstantGuidance
from tests.goldens import MissingGoldenError
from tests.parity.llama import greedy
from tests.parity.llamagen_text import GUIDANCE, INTERVAL, QUANTITIES, published, recorded
from tests.parity.measured import Measured


@pytest.fixture(autouse=True)
def _there() -> None:
    try:
        recorded()
    except MissingGoldenError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("measure", QUANTITIES, ids=lambda function: function.__name__)
def test_equals_published(measure: Callable[[], Iterable[Measured]]) -> None:
    measured = list(measure())
    assert measured
    assert not [each for each in measured if not each.passed]


def test_interval_counts_from_the_second_token() -> None:
    """One token less of guidance gives other images than published, so the + 1 is not slack."""
    io = recorded()
    guidance = ConstantGuidance(guidance_scale=GUIDANCE, until_token=INTERVAL)
    assert (greedy(published(), io["labels"], guidance) != io["greedy_cfgint"]).any()


def test_the_null_caption_must_keep_the_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the padding of another prompt, guidance compares with something else than published."""
    io = recorded()
    assert (io["emb_mask"][0] != io["emb_mask"]).any()

    def of_the_first(self: Captions, label: Tensor) -> Tensor:
        return torch.full_like(label, len(self.prompts) + int(io["emb_mask"].sum(1).argmax()))

    monkeypatch.setattr(Captions, "null", of_the_first)
    found = greedy(published(), io["labels"], ConstantGuidance(guidance_scale=GUIDANCE))
    assert (found != io["greedy_cfg"]).any()
