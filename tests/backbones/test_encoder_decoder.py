from __future__ import annotations

from collections.abc import Generator as PyGenerator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from arlab.backbones.attention import Attention, Context, Mask
from arlab.backbones.cache import Cache
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.modulation import AdaLN
from arlab.backbones.norms import RMSNorm
from arlab.backbones.places import LearnedPlaces
from arlab.backbones.resized_places import ResizedPlaces
from arlab.backbones.rotary import AxialRotary, IdentityRotation
from arlab.conformance.laws import Subject
from arlab.conformance.pass_laws import cache_equals_no_cache, driven_by_truth, no_leak
from arlab.conformance.plan_laws import batching
from arlab.conformance.toy import ToyHead, ToyTokenizer
from arlab.generators.conditioners import ClassLabel
from arlab.generators.feeding import Known
from arlab.generators.generator import Generator
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.masked import Masked
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_scale import NextScale
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Drawn, Ordering, Prefix, Visibility, condition_slots, slots
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.raster import Raster
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Kind, Layout, Progress, Read, Slots, Step
from arlab.rng import BatchRng, Rng
from tests.conformance.test_laws import Rows

GRID = Layout(((2, 3),))
PYRAMID = Layout(((1, 1), (1, 2), (2, 3)))


class AskedAhead(Ordering):
    """Token by token, behind a learned vector that is fed in the first step and stays."""

    carries = frozenset({Kind.COND, Kind.TOKEN, Kind.LEARNED})

    def __init__(self) -> None:
        pass

    def num_learned(self, layout: Layout, prefix: Prefix) -> int:
        return 1

    def visibility(self, layout: Layout) -> Visibility:
        return Visibility.RULE

    def steps(self, layout: Layout, prefix: Prefix, rng: Rng) -> PyGenerator[Step, Drawn | None, None]:
        total = layout.num_tokens
        for number in range(total):
            if number:
                before = torch.tensor([number - 1])
                fed = slots(Kind.TOKEN, before, before, number)
            else:
                asked = slots(Kind.LEARNED, torch.tensor([0]), torch.tensor([-1]), 0, first=prefix.length)
                fed = Slots.cat([condition_slots(prefix), asked]) if prefix.length else asked
            read = Read.own(torch.tensor([number]), torch.tensor([len(fed) - 1]))
            yield Step(fed, read, Progress(number, total, number, number + 1, total))


@dataclass(frozen=True)
class TwoStages(Subject):
    """The toy generator of the laws, with the other backbone."""

    def generator(self) -> Generator:
        torch.manual_seed(self.seed)
        generator = Generator(
            tokenizer=ToyTokenizer(self.layout),
            ordering=self.ordering,
            backbone=EncoderDecoder(
                width=24,
                attention=Attention(num_heads=2),
                stage_norm=RMSNorm(),
                rotary=AxialRotary(nowhere=IdentityRotation()),
                modulation=AdaLN(zero_init=False),
            ),
            head=ToyHead(noised=Kind.NOISY in self.ordering.carries),
            conditioner=ClassLabel(num_slots=self.num_slots, init_std=0.5),
            ema_decay=0.0,
        ).eval()
        # Far enough from zero that every part matters.
        for parameter in generator.backbone.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        return generator


SUBJECTS = [
    *(TwoStages(ordering, GRID, p) for ordering in (Raster(), Rows(), NextNeighbor()) for p in (0, 2)),
    *(TwoStages(Masked(set_sizes=CosineSizes(num_steps=3)), GRID, p) for p in (0, 2)),
    TwoStages(Masked(choice=ConfidenceChoice()), GRID),
    TwoStages(RandomInstructed(set_sizes=CosineSizes(num_steps=3)), GRID),
    *(TwoStages(AskedAhead(), GRID, p) for p in (0, 2)),
    TwoStages(NextX(), Layout(((4, 4),))),
    TwoStages(NextScale(), PYRAMID),
]


@pytest.mark.parametrize("law", [no_leak, driven_by_truth, cache_equals_no_cache, batching], ids=lambda f: f.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: f"{type(s.ordering).__name__}-{s.num_slots}")
def test_every_ordering_keeps_its_laws(subject: Subject, law: object) -> None:
    assert callable(law)
    law(subject)


def bound(layout: Layout = GRID, num_condition: int = 2, ways: int = 1, **options: object) -> EncoderDecoder:
    backbone = EncoderDecoder(width=16, attention=Attention(num_heads=2, qkv_bias=True), **options)
    backbone.bind(layout, num_condition, ways)
    for parameter in backbone.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    return backbone.eval()


def some_masked() -> Slots:
    """Condition, tokens 0 and 3, masks of the others, not sorted by kind."""
    parts = [condition_slots(Prefix(2))]
    for kind, index in ((Kind.LEARNED, [1, 2]), (Kind.TOKEN, [0, 3]), (Kind.LEARNED, [4, 5])):
        at = torch.tensor(index)
        parts.append(slots(kind, torch.zeros_like(at) if kind is Kind.LEARNED else at, at, 0))
    return Slots.cat(parts)


def run(backbone: EncoderDecoder, h_BSD: Tensor, rows: Slots) -> Tensor:
    (out,) = backbone(h_BSD, rows, Mask(), backbone.modulate(torch.randn(1, 1, 16)), GRID)
    return out


def test_masks_have_no_influence_on_the_first_stage() -> None:
    torch.manual_seed(0)
    backbone, rows = bound(), some_masked()
    seen: list[Tensor] = []
    backbone.between.register_forward_hook(lambda module, arguments, out: seen.append(out))
    h_BSD = torch.randn(1, len(rows), 16, requires_grad=True)
    out_BSD = run(backbone, h_BSD, rows)
    seen[0].square().sum().backward(retain_graph=True)
    is_mask_S = rows.kind == Kind.LEARNED
    assert h_BSD.grad is not None
    assert seen[0].shape[1] == 4
    assert (h_BSD.grad[0, is_mask_S] == 0).all()
    assert (h_BSD.grad[0, ~is_mask_S].abs().sum(-1) > 0).all()
    h_BSD.grad = None
    out_BSD.square().sum().backward()
    assert (h_BSD.grad[0].abs().sum(-1) > 0).all()


def test_it_is_its_formula() -> None:
    """Places, norm, blocks, norm, linear; masks as they are; places, blocks, norm, places."""
    torch.manual_seed(0)
    backbone, rows = bound(), some_masked()
    h_BSD = torch.randn(2, len(rows), 16)
    known = rows.kind != Kind.LEARNED
    table = [
        part[0].table[torch.where(rows.kind == Kind.COND, 6 + rows.source, rows.at)]
        for part in (backbone.encoder_places, backbone.decoder_places, backbone.out_places)
    ]
    encoded = backbone.in_norm((h_BSD + table[0])[:, known])
    for block in backbone.encoder_blocks:
        encoded = block(encoded, Context(Mask()), None)
    whole = h_BSD.clone()
    whole[:, known] = backbone.between(backbone.encoder_norm(encoded))
    whole = whole + table[1]
    for block in backbone.decoder_blocks:
        whole = block(whole, Context(Mask()), None)
    torch.testing.assert_close(run(backbone, h_BSD, rows), backbone.norms[0](whole) + table[2])


def test_where_nothing_is_masked_all_rows_pass_both_stages() -> None:
    torch.manual_seed(0)
    backbone = bound()
    token = torch.arange(6)
    rows = slots(Kind.TOKEN, token, token, 0)
    seen: list[Tensor] = []
    backbone.between.register_forward_hook(lambda module, arguments, out: seen.append(out))
    run(backbone, torch.randn(1, 6, 16), rows)
    assert seen[0].shape == (1, 6, 16)


def test_modulation_by_slot_finds_its_rows() -> None:
    """The same condition for all slots, once for all and once per slot."""
    torch.manual_seed(0)
    backbone, rows = bound(modulation=AdaLN()), some_masked()
    condition, h_BSD = torch.randn(2, 1, 16), torch.randn(2, len(rows), 16)
    each = condition.expand(-1, len(rows), -1)
    one, other = (backbone(h_BSD, rows, Mask(), backbone.modulate(c), GRID)[0] for c in (condition, each))
    torch.testing.assert_close(one, other)
    changed = each.clone()
    changed[:, 2] += 1.0  # a mask: the first stage does not know of it
    first, second = backbone.modulate(each), backbone.modulate(changed)
    seen: list[Tensor] = []
    backbone.between.register_forward_hook(lambda module, arguments, out: seen.append(out))
    outs = [backbone(h_BSD, rows, Mask(), modulated, GRID)[0] for modulated in (first, second)]
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(*outs)


def test_each_way_has_its_norm() -> None:
    backbone = bound(ways=2)
    rows = some_masked()
    outs = backbone(torch.randn(1, len(rows), 16), rows, Mask(), backbone.modulate(torch.zeros(1, 1, 16)), GRID)
    assert len(outs) == 2
    assert not torch.allclose(*outs)


def test_weights_round_trip_and_places_do_not_decay() -> None:
    first, second = bound(), bound()
    rows, h_BSD = some_masked(), torch.randn(1, 8, 16)
    assert not torch.allclose(run(first, h_BSD, rows), run(second, h_BSD, rows))
    second.load_state_dict(first.state_dict())
    assert torch.equal(run(first, h_BSD, rows), run(second, h_BSD, rows))
    assert {name.split(".")[0] for name in first.state_dict()} == {
        "in_norm",
        "encoder_blocks",
        "encoder_norm",
        "between",
        "decoder_blocks",
        "norms",
        "encoder_places",
        "decoder_places",
        "out_places",
    }


def test_other_layouts_only_with_places_that_know_them() -> None:
    assert not EncoderDecoder().any_layout
    assert not EncoderDecoder(places=[ResizedPlaces()]).any_layout
    assert EncoderDecoder(places=[ResizedPlaces()], out_places=[]).any_layout
    assert not EncoderDecoder(places=[], out_places=[LearnedPlaces()]).any_layout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "backbone.width: must be at least 1"),
        ({"num_encoder_layers": 0}, "backbone.num_encoder_layers: must be from 1 to 1000"),
        ({"num_decoder_layers": 10**9}, "backbone.num_decoder_layers: must be from 1 to 1000"),
        ({"dropout": float("nan")}, "backbone.dropout"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EncoderDecoder(**options)


def test_the_first_stage_keeps_only_what_passed_it() -> None:
    torch.manual_seed(0)
    backbone, cache, rows = bound(), Cache(16), some_masked()
    backbone(torch.randn(1, 8, 16), rows, Mask(), backbone.modulate(torch.zeros(1, 1, 16)), GRID, cache)
    cache.commit(rows)
    assert [cache.length(layer) for layer in range(4)] == [4, 4, 8, 8]
    kept = cache.rows()
    assert kept is not None
    assert len(kept) == 8


def test_training_pass_of_a_generator_reaches_all_weights() -> None:
    generator = TwoStages(Masked(), GRID, 2).generator()
    condition = generator.conditioner(torch.tensor([0, 1]))
    step = generator.ordering.training(GRID, condition.prefix, BatchRng(0, 2))
    known = Known(torch.randn(2, 6, 3))
    out = generator.run_pass(step.feed, known, condition, Mask(), GRID)
    out[0].square().sum().backward()
    missing = [name for name, p in generator.backbone.named_parameters() if p.grad is None]
    assert not missing
