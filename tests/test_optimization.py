from __future__ import annotations

import io
import math
import re

import pytest
import torch
from torch import nn

from arlab.configurable import from_spec
from arlab.learning_rates import MultiStep
from arlab.optimization import AdamW, split_by_decay


def test_learning_rate_by_hand() -> None:
    optimizer = AdamW(warmup_steps=4, final_fraction=0.2)
    # Half a cosine from 1 at step 4 to 0.2 at step 12; a quarter, half and three quarters of the way in between.
    half = 0.5**0.5
    expected = {0: 0.25, 1: 0.5, 2: 0.75, 3: 1.0, 4: 1.0, 6: 0.6 + 0.4 * half, 8: 0.6, 10: 0.6 - 0.4 * half, 12: 0.2}
    for step, factor in expected.items():
        assert optimizer.factor(step, 12) == pytest.approx(factor), step
    assert optimizer.factor(50, 12) == pytest.approx(0.2)


def test_constant_and_without_warm_up() -> None:
    assert {AdamW(warmup_steps=0, final_fraction=1.0).factor(step, 10) for step in range(11)} == {1.0}
    assert AdamW(warmup_steps=100).factor(9, 10) == pytest.approx(0.1)


def test_the_schedule_is_the_one_applied() -> None:
    layer = nn.Linear(2, 2)
    recipe = AdamW(learning_rate=0.5, weight_decay=0.1, betas=(0.8, 0.9), warmup_steps=2)
    built = recipe.build(layer, 6)
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    assert built["lr_scheduler"]["interval"] == "step"
    assert optimizer.defaults["betas"] == (0.8, 0.9)
    rates = []
    for _ in range(7):
        rates.append(optimizer.param_groups[0]["lr"])
        layer(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.5 * recipe.factor(step, 6) for step in range(7)])


def test_weight_decay_goes_to_its_end() -> None:
    """Half a cosine from 0.1 at the first step to 0.3 at the fifth, on what decays; nothing on the rest."""
    layer = nn.Linear(2, 2)
    built = AdamW(weight_decay=0.1, final_weight_decay=0.3).build(layer, 5)
    optimizer, schedule = built["optimizer"], built["lr_scheduler"]["scheduler"]
    half, found = 0.5**0.5, []
    for _ in range(6):
        optimizer.step()
        schedule.step()
        found.append([group["weight_decay"] for group in optimizer.param_groups])
    expected = [0.1, 0.2 - 0.1 * half, 0.2, 0.2 + 0.1 * half, 0.3, 0.3]
    assert found == [[pytest.approx(each), 0.0] for each in expected]
    # What is saved of it is plain data, and tells the step it goes on from.
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = AdamW(weight_decay=0.1, final_weight_decay=0.3).build(layer, 11)
    again["lr_scheduler"]["scheduler"].load_state_dict(saved["schedule"])
    again["optimizer"].step()
    # Step 6 of 11: (1 + cos(0.6 π)) / 2 of the way from its end.
    decay = 0.3 - 0.1 * (1 + math.cos(0.6 * math.pi))
    assert again["optimizer"].param_groups[0]["weight_decay"] == pytest.approx(decay)


def test_a_schedule_takes_the_place_of_the_default_one() -> None:
    optimizer = AdamW(schedule=MultiStep(milestones=(0.5,), drop=0.1))
    assert [optimizer.factor(step, 4) for step in range(4)] == pytest.approx([1, 1, 0.1, 0.1])
    spec = optimizer.spec()
    again = from_spec(spec, AdamW)
    assert again.spec() == spec
    assert isinstance(again.schedule, MultiStep)
    assert again.schedule.milestones == (0.5,)


class Table(nn.Module):
    no_weight_decay = True

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(3, 2))
        self.inner = nn.Linear(2, 2)


def test_decay_split() -> None:
    module = nn.ModuleDict({"norm": nn.LayerNorm(2), "linear": nn.Linear(2, 3), "table": Table()})
    module["tied"] = module["linear"]
    module["frozen"] = nn.Linear(2, 2).requires_grad_(False)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decayed, kept = ([names[id(p)] for p in group] for group in split_by_decay(module))
    # The exemption covers what the class holds itself, not what lies inside; what is tied is listed once.
    assert sorted(decayed) == ["linear.weight", "table.inner.weight"]
    assert sorted(kept) == ["linear.bias", "norm.bias", "norm.weight", "table.inner.bias", "table.table"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("learning_rate", 0.0),
        ("final_fraction", 1.5),
        ("weight_decay", -0.1),
        ("betas", (0.9, 1.0)),
        ("betas", (-0.1, 0.9)),
        ("warmup_steps", -1),
    ],
)
def test_impossible_settings_are_refused(option: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"optimizer\.{option}: must .* {re.escape(str(value))}"):
        AdamW(**{option: value})
