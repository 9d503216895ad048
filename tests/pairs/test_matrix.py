"""What the matrix of pairs says is so, and every refusal in it names something that works."""

from __future__ import annotations

import re

import pytest

from arlab.conformance.pairs import KINDS, Tried, tried
from arlab.heads.discrete import DiscreteHead
from arlab.heads.flow import FlowHead
from arlab.heads.gaussian_mixture import GaussianMixtureHead
from arlab.orderings.next_frequency import NextFrequency
from arlab.orderings.next_scale import NextScale
from arlab.orderings.next_x import NextX
from arlab.orderings.raster import Raster
from arlab.orderings.step import Kind
from arlab.tokens import TokenSpace
from tests.conformance.broken import Gauss
from tests.pairs.tiny_pairs import ALL, WORKING, heads, named, orderings

REFUSED = [cell for cell in ALL if not cell.works]


def partners(cell: Tried) -> set[str]:
    """Orderings, heads and tokenizers that go with the ordering or the head of a cell, in one way or another."""
    row = [each for each in WORKING if each.ordering is cell.ordering]
    column = [each for each in WORKING if each.head is cell.head]
    names = {each.head.__name__ for each in row} | {each.ordering.__name__ for each in column}
    return names.union(*(each.kind.made_by for each in (*row, *column))) - {cell.ordering.__name__, cell.head.__name__}


def test_every_triple_is_tried_and_nothing_fails_but_by_a_refusal() -> None:
    assert len(ALL) == len(orderings()) * len(heads()) * len(KINDS)
    assert [f"{named(cell)}: {cell.why}" for cell in ALL if not cell.meant] == []


@pytest.mark.parametrize("ordering", orderings(), ids=lambda cls: cls.__name__)
def test_a_refusal_names_a_key_and_something_that_works(ordering: type) -> None:
    for cell in REFUSED:
        if cell.ordering is ordering:
            assert cell.why is not None
            assert re.match(r"(ordering|head|backbone|conditioner|tokenizer)[\w.]*: ", cell.why), cell.why
            assert set(re.findall(r"\w+", cell.why)) & partners(cell), f"{named(cell)}: {cell.why}"


@pytest.mark.parametrize("cls", [*orderings(), *heads()], ids=lambda cls: cls.__name__)
def test_every_ordering_and_head_works_with_something(cls: type) -> None:
    assert any(cls in (cell.ordering, cell.head) for cell in WORKING)


@pytest.mark.parametrize(
    ("ordering", "head", "works"),
    [
        (Raster, DiscreteHead, {"codes"}),
        (Raster, FlowHead, {"vectors"}),
        (NextScale, DiscreteHead, {"scales"}),
        (NextScale, FlowHead, {"vectors"}),
        (NextFrequency, GaussianMixtureHead, {"vectors"}),
        (NextX, DiscreteHead, set()),
        (NextX, FlowHead, {"vectors"}),
    ],
)
def test_pairs_that_must_or_must_not_go_together(ordering: type, head: type, works: set[str]) -> None:
    assert {kind.name for kind in KINDS if tried(ordering, head, kind).works} == works


def test_a_head_that_looks_at_no_noised_tokens_is_refused_where_it_does_not_say_so_itself() -> None:
    cell = tried(NextX, Gauss, KINDS[-1])
    assert cell.meant
    assert str(cell.why).startswith("head: NextX feeds noised tokens, which Gauss does not look at; choose FlowHead")


def test_an_error_that_is_no_refusal_is_told_as_one() -> None:
    cell = tried(Raster, _Careless, KINDS[0])
    assert not cell.works
    assert not cell.meant
    assert "careless" in str(cell.why)


class _Careless(DiscreteHead):
    def bind(self, width: int, space: TokenSpace, ways: int, *, carries: frozenset[Kind]) -> None:
        raise RuntimeError("careless")
