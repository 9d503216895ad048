from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor, nn

from arlab.backbones.backbone import Backbone
from arlab.backbones.modulation import AdaLN, SharedAdaLN
from arlab.backbones.transformer import Transformer
from arlab.configurable import from_spec
from arlab.generators.generator import Generator
from arlab.generators.initialisation import VARInitialisation
from arlab.heads.discrete import DiscreteHead
from arlab.optimization import split_by_decay
from arlab.orderings.raster import Raster
from arlab.orderings.step import Slots
from tests.goldens import golden_table
from tests.parity.var import by_published_name, fresh
from tests.tiny import GrayLevels

TABLE = golden_table("var_training")


def std(weight: Tensor) -> float:
    return float(weight.detach().std())


def test_spread_is_vars() -> None:
    """Standard deviations of several draws together, since small tensors scatter."""
    drawn: dict[str, list[Tensor]] = {}
    for seed in range(6):
        torch.manual_seed(seed)
        generator = fresh(VARInitialisation())
        for name, weight in by_published_name(dict(generator.named_parameters())).items():
            drawn.setdefault(name, []).append(weight.detach())
    for name, expected in TABLE["varA_init_std"].items():
        found = torch.stack(drawn[name]).double()
        if name.endswith("scale_mul_1H11"):
            torch.testing.assert_close(found, torch.full_like(found, math.log(4)))
        else:
            assert std(found) == pytest.approx(expected, rel=0.1), name


def test_gates_are_nearly_closed() -> None:
    """The recorded spread of ada_lin is of all six vectors together; here they are apart."""
    block = fresh(VARInitialisation(gates=1e-4)).backbone.conditioning.blocks[1]
    gates, others = block.weight.split([256, 512])
    assert std(gates) == pytest.approx(1e-4 * math.sqrt(1 / 384), rel=0.05)
    assert std(others) == pytest.approx(0.5 * math.sqrt(1 / 384), rel=0.05)


def test_what_decays_is_what_decays_in_var() -> None:
    generator = fresh()
    decayed, kept = split_by_decay(generator)
    for names, group in ((TABLE["varA_decay"], decayed), (TABLE["varA_no_decay"], kept)):
        mine = {id(p) for p in group}
        # The flag of each parameter, in its shape: so it is carried along where one of ours holds several of theirs.
        flags = {name: torch.full(p.shape, float(id(p) in mine)) for name, p in generator.named_parameters()}
        found = {name for name, flag in by_published_name(flags).items() if bool(flag.all())}
        assert found == set(names)


def generator(initialisation: VARInitialisation | None, modulation: AdaLN | SharedAdaLN | None = None) -> Generator:
    torch.manual_seed(0)
    backbone = Transformer(width=48, num_layers=3, modulation=modulation)
    return Generator(
        tokenizer=GrayLevels(),
        ordering=Raster(),
        backbone=backbone,
        head=DiscreteHead(),
        initialisation=initialisation,
    )


def test_without_one_nothing_changes() -> None:
    torch.manual_seed(0)
    backbone = Transformer(width=48, num_layers=3)
    before = Generator(tokenizer=GrayLevels(), ordering=Raster(), backbone=backbone, head=DiscreteHead())
    state = torch.get_rng_state()
    after = generator(None)
    assert torch.equal(torch.get_rng_state(), state)
    assert {k: v.tolist() for k, v in after.state_dict().items()} == {
        k: v.tolist() for k, v in before.state_dict().items()
    }


def test_shared_modulation_is_told_apart_by_offsets() -> None:
    conditioning = generator(VARInitialisation(gates=0.01), SharedAdaLN()).backbone.conditioning
    gates, others = conditioning.offset_LD.split([96, 192], dim=1)
    assert std(gates) == pytest.approx(0.01 / math.sqrt(48), rel=0.15)
    assert std(others) == pytest.approx(0.5 / math.sqrt(48), rel=0.15)
    assert std(conditioning.map.weight) == pytest.approx(math.sqrt(1 / 144), rel=0.05)


def test_gated_feed_forward_and_no_modulation() -> None:
    """The last map of each branch is the one divided by √(2 L), whatever feed-forward it is."""
    made = generator(VARInitialisation(init_std=0.3))
    block = made.backbone.blocks[1]
    for last in (block.attention.out, block.feed_forward.down):
        assert std(last.weight) == pytest.approx(0.3 / math.sqrt(6), rel=0.1)
    assert std(block.feed_forward.gate.weight) == pytest.approx(0.3, rel=0.1)
    # Tokens are embedded by the head; only what makes its logits is small.
    assert std(made.head.embedding.weight) == pytest.approx(0.3, rel=0.2)
    assert std(made.head.outputs[0].weight) == pytest.approx(0.006, rel=0.2)


def test_a_spec_rebuilds_it() -> None:
    made = generator(VARInitialisation(gates=1e-5), AdaLN())
    again = from_spec(made.spec(), Generator)
    assert again.spec() == made.spec()
    assert isinstance(again.initialisation, VARInitialisation)
    assert again.initialisation.gates == 1e-5


class NoTransformer(Backbone):
    """Knows nothing of blocks."""

    width = 16
    modulates = False

    def bind(self, *arguments: object) -> None:
        self.linear = nn.Linear(16, 16)

    def modulate(self, condition_BSD: Tensor, rows: Slots | None = None) -> None:
        raise NotImplementedError

    def forward(self, *arguments: object) -> None:
        raise NotImplementedError


def test_other_backbones_are_refused() -> None:
    refused = "initialisation: VARInitialisation knows the parts of a Transformer, got NoTransformer"
    with pytest.raises(ValueError, match=f"^{refused}$"):
        Generator(
            tokenizer=GrayLevels(),
            ordering=Raster(),
            backbone=NoTransformer(),
            head=DiscreteHead(),
            initialisation=VARInitialisation(),
        )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VARInitialisation(gates=-1.0), "initialisation.gates: must be at least 0, got -1.0"),
        (lambda: VARInitialisation(modulation=math.nan), "initialisation.modulation: must be at least 0, got nan"),
        (lambda: VARInitialisation(head=math.inf), "initialisation.head: must be at least 0, got inf"),
        (lambda: VARInitialisation(init_std=-0.1), "initialisation.init_std: must be at least 0, got -0.1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_impossible_settings_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()
