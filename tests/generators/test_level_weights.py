from __future__ import annotations

import math
import re

import pytest
import torch

from arlab.generators.level_weights import AreaWeights, BellWeights, LevelWeights
from arlab.generators.objective import TeacherForcing
from arlab.heads.discrete import DiscreteHead
from arlab.orderings.step import Layout
from arlab.rng import BatchRng
from tests.parity.var import fresh

LAYOUT = Layout(((1, 1), (1, 2), (2, 4)))
VAR = Layout(tuple((side, side) for side in (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)))


def shares(weights: LevelWeights, layout: Layout) -> list[float]:
    """What each level counts in all, of 1."""
    weight_N = weights.of_tokens(layout).double()
    return [float(weight_N[layout.tokens(level)].sum() / len(weight_N)) for level in range(len(layout.shapes))]


def test_area_weights_by_hand() -> None:
    # 1, 2 and 8 tokens: √8, 2 and 1 each, of √8 + 4 + 8 in all.
    weight_N = AreaWeights(power=0.5).of_tokens(LAYOUT)
    expected = torch.tensor([8**0.5, 2, 2, *[1] * 8]) * 11 / (8**0.5 + 4 + 8)
    torch.testing.assert_close(weight_N, expected)
    assert shares(AreaWeights(power=1), LAYOUT) == pytest.approx([1 / 3] * 3)
    assert torch.equal(AreaWeights(power=0).of_tokens(LAYOUT), torch.ones(11))


def test_bell_weights_by_hand() -> None:
    """Sides 1/4, 1/2, 1 (of 1, 4 and 16 tokens) in reverse: z = (1, 1/2, 1/4) less their mean, over their std."""
    layout = Layout(((1, 1), (2, 2), (4, 4)))
    mean = 7 / 12
    std = math.sqrt(((5 / 12) ** 2 + (1 / 12) ** 2 + (4 / 12) ** 2) / 2)
    density = [math.exp(-(((side - mean) / std) ** 2) / 2) for side in (1, 0.5, 0.25)]
    assert shares(BellWeights(), layout) == pytest.approx([each / sum(density) for each in density])
    # A narrow one around the coarsest level's z leaves that level alone.
    narrow = BellWeights(centre=(1 - mean) / std, width=0.01)
    assert shares(narrow, layout) == pytest.approx([1, 0, 0])


def test_hmar_counts_the_middle_most() -> None:
    expected = [0.0247, 0.0642, 0.1150, 0.1379, 0.1402, 0.1329, 0.1208, 0.1054, 0.0882, 0.0709]
    assert shares(BellWeights(), VAR) == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize("weights", [AreaWeights(), AreaWeights(power=10), BellWeights(), BellWeights(width=0.01)])
@pytest.mark.parametrize("layout", [LAYOUT, VAR, Layout(((2, 3),)), Layout(((2, 3),) * 4), Layout(((1,), (512,)))])
def test_they_are_one_on_average(weights: LevelWeights, layout: Layout) -> None:
    weight_N = weights.of_tokens(layout)
    assert weight_N.shape == (layout.num_tokens,)
    assert float(weight_N.mean()) == pytest.approx(1, rel=1e-5)
    assert bool((weight_N >= 0).all())
    if len(set(layout.sizes)) == 1:
        assert torch.equal(weight_N, torch.ones(layout.num_tokens))


def test_the_loss_is_the_weighted_mean() -> None:
    torch.manual_seed(0)
    generator = fresh()
    assert isinstance(generator.head, DiscreteHead)
    torch.nn.init.normal_(generator.head.outputs[0].bias, std=2.0)
    tokens, label = torch.randint(512, (2, 30)), torch.tensor([3, 7])
    generator.eval()
    layout = generator.layout

    def loss(objective: TeacherForcing) -> torch.Tensor:
        return objective.loss(generator, tokens, label, BatchRng(5, 2), layout)

    plain = loss(TeacherForcing())
    assert torch.equal(loss(TeacherForcing(level_weights=AreaWeights(power=0))), plain)
    # Every level the same: the mean over levels of the mean within each. The outputs' weights are zero, so the logits
    # are the bias everywhere.
    nats_BN = -generator.head.outputs[0].bias.log_softmax(-1)[tokens]
    torch.testing.assert_close(plain, nats_BN.mean())
    means = torch.stack([nats_BN[:, layout.tokens(level)].mean() for level in range(4)])
    torch.testing.assert_close(loss(TeacherForcing(level_weights=AreaWeights(power=1))), means.mean())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: AreaWeights(power=-0.5), "level_weights.power: must be from 0 to 10, got -0.5"),
        (lambda: AreaWeights(power=math.nan), "level_weights.power: must be from 0 to 10, got nan"),
        (lambda: BellWeights(centre=math.inf), "level_weights.centre: must be from -10 to 10, got inf"),
        (lambda: BellWeights(width=0.0), "level_weights.width: must be from 0.01 to 100, got 0.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_settings_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()
