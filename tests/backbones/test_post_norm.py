"""The backbone with norms behind sums: its formula, and the laws of orderings on it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from arlab.backbones.attention import Attention, Context, Mask
from arlab.backbones.feed_forward import MLP
from arlab.backbones.places import LearnedPlaces
from arlab.backbones.post_norm import PostNorm
from arlab.backbones.resized_places import ResizedPlaces
from arlab.conformance.laws import Subject
from arlab.conformance.pass_laws import cache_equals_no_cache, driven_by_truth, no_leak
from arlab.conformance.plan_laws import batching
from arlab.conformance.toy import ToyHead, ToyTokenizer
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.orderings.masked import Masked
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.raster import Raster
from arlab.orderings.set_sizes import CosineSizes
from arlab.orderings.step import Kind, Layout, Slots

GRID = Layout(((2, 3),))


@dataclass(frozen=True)
class Summed(Subject):
    """The toy generator of the laws, with this backbone."""

    def generator(self) -> Generator:
        torch.manual_seed(self.seed)
        generator = Generator(
            tokenizer=ToyTokenizer(self.layout),
            ordering=self.ordering,
            backbone=PostNorm(width=24, num_layers=3, attention=Attention(num_heads=2)),
            head=ToyHead(),
            conditioner=ClassLabel(num_slots=self.num_slots, init_std=0.5),
            ema_decay=0.0,
        ).eval()
        # Far enough from zero that every part matters.
        for parameter in generator.backbone.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        return generator


SUBJECTS = [
    Summed(Raster(), GRID),
    Summed(NextNeighbor(), GRID),
    Summed(Masked(set_sizes=CosineSizes(num_steps=3)), GRID),
]


@pytest.mark.parametrize("law", [no_leak, driven_by_truth, cache_equals_no_cache, batching], ids=lambda f: f.__name__)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda s: type(s.ordering).__name__)
def test_every_ordering_keeps_its_laws(subject: Subject, law: object) -> None:
    assert callable(law)
    law(subject)


def bound(ways: int = 1, **options: object) -> PostNorm:
    backbone = PostNorm(width=16, num_layers=2, attention=Attention(num_heads=2, out_bias=True), **options)  # type: ignore[arg-type]
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


def run(backbone: PostNorm, h_BSD: Tensor, rows: Slots) -> tuple[Tensor, ...]:
    return backbone(h_BSD, rows, Mask(), backbone.modulate(torch.zeros(1, 1, 16)), GRID)


def test_it_is_its_formula() -> None:
    torch.manual_seed(0)
    backbone, rows = bound(), some_masked()
    h_BSD = torch.randn(2, len(rows), 16)
    h = backbone.norm_in(h_BSD + backbone.places[0](rows, GRID))
    for block in backbone.blocks:
        h = block.attention_norm(h + block.attention(h, Context(Mask())))
        h = block.feed_forward_norm(h + block.feed_forward(h))
    torch.testing.assert_close(run(backbone, h_BSD, rows)[0], h)


def test_what_leaves_is_normalised_and_the_same_for_every_way() -> None:
    backbone = bound(ways=2)
    last = backbone.blocks[-1].feed_forward_norm
    torch.nn.init.ones_(last.weight)
    torch.nn.init.zeros_(last.bias)
    first, second = run(backbone, torch.randn(1, 8, 16), some_masked())
    assert first is second
    torch.testing.assert_close(first.std(-1, correction=0), torch.ones(1, 8))


def test_layers_are_numbered_for_the_cache() -> None:
    assert [block.attention.layer for block in bound().blocks] == [0, 1]


def test_the_condition_comes_by_its_slots_alone() -> None:
    backbone = bound()
    assert not backbone.modulates
    assert list(backbone.modulate(torch.randn(1, 1, 16)).blocks) == [None, None]


def test_dropout_is_of_input_and_branches_in_training_alone() -> None:
    backbone, rows, h_BSD = bound(dropout=0.5), some_masked(), torch.randn(1, 8, 16)
    assert torch.equal(run(backbone, h_BSD, rows)[0], run(backbone, h_BSD, rows)[0])
    backbone.train()
    assert not torch.equal(run(backbone, h_BSD, rows)[0], run(backbone, h_BSD, rows)[0])


def test_other_layouts_only_with_places_that_know_them() -> None:
    assert not PostNorm().any_layout
    assert PostNorm(places=[ResizedPlaces()]).any_layout
    assert not PostNorm(places=[ResizedPlaces(), LearnedPlaces()]).any_layout


def test_defaults_are_berts() -> None:
    backbone = PostNorm(width=8, num_layers=1)
    backbone.bind(GRID, 1, 1)
    block = backbone.blocks[0]
    assert block.attention.qkv.bias is not None
    assert block.attention.out.bias is not None
    assert isinstance(backbone.feed_forward, MLP)
    assert block.attention_norm.eps == 1e-12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "backbone.width: must be at least 1"),
        ({"num_layers": 10**9}, "backbone.num_layers: must be from 1 to 1000"),
        ({"dropout": float("nan")}, "backbone.dropout"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PostNorm(**options)  # type: ignore[arg-type]
