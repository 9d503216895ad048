"""The backbone with long skips: its formula, and the laws of orderings on it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from arlab.backbones.attention import Attention, Context, Mask
from arlab.backbones.long_skips import LongSkips
from arlab.backbones.modulation import AdaLN
from arlab.backbones.places import LearnedPlaces
from arlab.backbones.resized_places import ResizedPlaces
from arlab.backbones.rotary import AxialRotary, IdentityRotation
from arlab.conformance.laws import Subject
from arlab.conformance.pass_laws import cache_equals_no_cache, driven_by_truth, no_leak
from arlab.conformance.plan_laws import batching
from arlab.conformance.toy import ToyHead, ToyTokenizer
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.orderings.choices import ConfidenceChoice
from arlab.orderings.masked import Masked
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_scale import NextScale
from arlab.orderings.next_x import NextX
from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.raster import Raster
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Kind, Layout, Slots

GRID = Layout(((2, 3),))
PYRAMID = Layout(((1, 1), (1, 2), (2, 3)))


@dataclass(frozen=True)
class Skipping(Subject):
    """The toy generator of the laws, with this backbone."""

    def generator(self) -> Generator:
        torch.manual_seed(self.seed)
        generator = Generator(
            tokenizer=ToyTokenizer(self.layout),
            ordering=self.ordering,
            backbone=LongSkips(
                width=24,
                attention=Attention(num_heads=2),
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
    *(Skipping(Raster(), GRID, p) for p in (0, 2)),
    Skipping(NextNeighbor(), GRID),
    Skipping(Masked(set_sizes=CosineSizes(num_steps=3)), GRID),
    Skipping(Masked(choice=ConfidenceChoice()), GRID),
    Skipping(RandomInstructed(set_sizes=CosineSizes(num_steps=3)), GRID),
    Skipping(NextX(), Layout(((4, 4),))),
    Skipping(NextScale(), PYRAMID),
]


@pytest.mark.parametrize("law", [no_leak, driven_by_truth, cache_equals_no_cache, batching], ids=lambda f: f.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: f"{type(s.ordering).__name__}-{s.num_slots}")
def test_every_ordering_keeps_its_laws(subject: Subject, law: object) -> None:
    assert callable(law)
    law(subject)


def bound(ways: int = 1, **options: object) -> LongSkips:
    backbone = LongSkips(width=16, attention=Attention(num_heads=2, out_bias=True), **options)  # type: ignore[arg-type]
    backbone.bind(GRID, 2, ways)
    for parameter in backbone.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    return backbone.eval()


def some_masked() -> Slots:
    token, mask = torch.tensor([0, 3]), torch.tensor([1, 2, 4, 5])
    parts = [
        condition_slots(Prefix(2)),
        slots(Kind.TOKEN, token, token, 0),
        slots(Kind.LEARNED, torch.zeros_like(mask), mask, 0),
    ]
    return Slots.cat(parts)


def run(backbone: LongSkips, h_BSD: Tensor, rows: Slots) -> tuple[Tensor, ...]:
    return backbone(h_BSD, rows, Mask(), backbone.modulate(torch.zeros(1, 1, 16)), GRID)


@pytest.mark.parametrize(("num_skips", "num_middle_layers"), [(1, 1), (3, 2), (2, 0)])
def test_it_is_its_formula(num_skips: int, num_middle_layers: int) -> None:
    """The last block sees what left the first."""
    torch.manual_seed(0)
    backbone, rows = bound(num_skips=num_skips, num_middle_layers=num_middle_layers), some_masked()
    h_BSD = torch.randn(2, len(rows), 16)
    h = h_BSD + backbone.places[0](rows, GRID)
    seen = []
    for block in backbone.in_blocks:
        h = block(h, Context(Mask()), None)
        seen.append(h)
    for block in backbone.middle_blocks:
        h = block(h, Context(Mask()), None)
    for number in range(num_skips):
        met = torch.cat((h, seen[num_skips - 1 - number]), -1)
        h = backbone.out_blocks[number](backbone.skips[number](met), Context(Mask()), None)
    torch.testing.assert_close(run(backbone, h_BSD, rows)[0], backbone.norms[0](h))


def test_layers_are_numbered_for_the_cache() -> None:
    backbone = bound(num_skips=2, num_middle_layers=3)
    blocks = [*backbone.in_blocks, *backbone.middle_blocks, *backbone.out_blocks]
    assert [block.attention.layer for block in blocks] == list(range(7))


def test_each_way_has_its_norm() -> None:
    first, second = run(bound(ways=2), torch.randn(1, 8, 16), some_masked())
    assert not torch.allclose(first, second)


def test_modulation_reaches_every_block_and_what_leaves() -> None:
    torch.manual_seed(0)
    backbone, rows, h_BSD = bound(modulation=AdaLN()), some_masked(), torch.randn(1, 8, 16)
    condition = torch.randn(1, 1, 16, requires_grad=True)
    backbone(h_BSD, rows, Mask(), backbone.modulate(condition), GRID)[0].square().sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.conditioning.parameters())
    assert backbone.modulates
    assert not bound().modulates


def test_other_layouts_only_with_places_that_know_them() -> None:
    assert not LongSkips().any_layout
    assert LongSkips(places=[ResizedPlaces()]).any_layout
    assert not LongSkips(places=[ResizedPlaces(), LearnedPlaces()]).any_layout
    assert LongSkips(places=[]).any_layout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "backbone.width: must be at least 1"),
        ({"num_skips": 0}, "backbone.num_skips: must be from 1 to 1000"),
        ({"num_middle_layers": 10**9}, "backbone.num_middle_layers: must be from 0 to 1000"),
        ({"dropout": float("nan")}, "backbone.dropout"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LongSkips(**options)  # type: ignore[arg-type]
