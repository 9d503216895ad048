from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from arlab.backbones.rotary import AxialRotary, CountedRotation, IdentityRotation, Nowhere
from arlab.backbones.transformer import Transformer
from arlab.generators.guidance import ConstantGuidance
from tests.goldens import golden
from tests.parity.llama import greedy, logits_of
from tests.parity.llamagen import INTERVAL, IO, QUANTITIES, published
from tests.parity.measured import Measured


@pytest.mark.parametrize("measure", QUANTITIES, ids=lambda function: function.__name__)
def test_equals_published(measure: Callable[[], Iterable[Measured]]) -> None:
    measured = list(measure())
    assert measured
    assert not [each for each in measured if not each.passed]


@pytest.mark.parametrize("nowhere", [IdentityRotation(), CountedRotation()])
def test_condition_slots_must_be_erased(nowhere: Nowhere) -> None:
    """Rotating them by nothing, the obvious reading, is far from the published model."""
    io, generator = golden(IO), published()
    assert isinstance(generator.backbone, Transformer)
    generator.backbone.rotary = AxialRotary(nowhere=nowhere)
    logits, _ = logits_of(generator, io["tokens"], io["labels"])
    assert float((logits.detach() - io["tf_logits"]).abs().max()) > 1


def test_interval_counts_from_the_second_token() -> None:
    """One token less of guidance gives other images than published, so the + 1 is not slack."""
    io = golden(IO)
    guidance = ConstantGuidance(guidance_scale=1.75, until_token=INTERVAL)
    assert (greedy(published(), io["gen_labels"], guidance) != io["greedy_cfgint"]).any()
