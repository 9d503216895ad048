"""Tables of names: every rule there and back, and what a table refuses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from arlab.checkpoints.names import (
    BOTH,
    Names,
    Rule,
    constant,
    cut,
    joined,
    leading,
    permuted,
    renamed,
    reordered,
    same,
)

ROWS = torch.arange(12.0).reshape(6, 2)
"""Six rows, each of its own."""


def own(rules: Sequence[Rule], theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Ours; and seen to be released as theirs again, every name of them."""
    names = Names(rules)
    ours = dict(names.own(theirs))
    again = names.published(ours)
    assert list(again) == [name for rule in rules for name in rule.theirs]
    for name, value in again.items():
        assert torch.equal(value, theirs[name]), name
        assert value.shape == theirs[name].shape
    return ours


def equal(value: Tensor, rows: object) -> bool:
    """Whether it is these numbers, in this shape."""
    expected = torch.as_tensor(rows, dtype=value.dtype)
    return value.shape == expected.shape and torch.equal(value, expected)


# ---- rules, there and back


def test_same() -> None:
    ours = own([same("norm.weight", "backbone.norms.0.weight")], {"norm.weight": ROWS})
    assert list(ours) == ["backbone.norms.0.weight"]
    assert ours["backbone.norms.0.weight"] is ROWS


def test_renamed_takes_each_part_by_its_name() -> None:
    theirs = {"a.weight": ROWS, "a.bias": ROWS[:, 0], "b.weight": ROWS + 1, "b.bias": ROWS[:, 1]}
    ours = own([*renamed({"a": "x", "b": "y"}, BOTH)], theirs)
    assert list(ours) == ["x.weight", "x.bias", "y.weight", "y.bias"]
    assert torch.equal(ours["y.bias"], ROWS[:, 1])
    assert [rule.theirs for rule in renamed({"a": "x"})] == [("a.weight",)]
    assert not list(renamed({}))


def test_leading() -> None:
    assert equal(own([leading("table", "ours")], {"table": ROWS[None]})["ours"], ROWS)


def test_reordered_takes_blocks_from_where_they_were() -> None:
    """Our block i is their block order[i]; an order that is not its own inverse tells the two ways apart."""
    ours = own([reordered("six", "ours", [2, 0, 1])], {"six": ROWS})
    assert equal(ours["ours"], [[8, 9], [10, 11], [0, 1], [2, 3], [4, 5], [6, 7]])
    assert equal(own([reordered("six", "ours", [0])], {"six": ROWS})["ours"], ROWS)


def test_permuted_takes_rows_from_where_they_were() -> None:
    index = torch.tensor([1, 2, 3, 0, 5, 4])
    ours = own([permuted("six", "ours", index)], {"six": ROWS[None]})
    assert equal(ours["ours"][:, 0], [2, 4, 6, 0, 10, 8])


def test_joined_puts_blocks_behind_each_other() -> None:
    theirs = {"q": ROWS[:2], "k": ROWS[2:4], "v": ROWS[4:]}
    assert equal(own([joined(["q", "k", "v"], "qkv")], theirs)["qkv"], ROWS)


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (["q", None, "v"], [0, 1, 0, 0, 4, 5]),
        ([None, "q", "v"], [0, 0, 0, 1, 4, 5]),
        (["q", "v", None], [0, 1, 4, 5, 0, 0]),
    ],
)
def test_a_block_that_is_not_published_is_zero(blocks: list[str | None], expected: list[float]) -> None:
    """VAR's keys have no bias."""
    numbers = torch.arange(6.0)
    ours = own([joined(blocks, "qkv.bias")], {"q": numbers[:2], "v": numbers[4:]})
    assert equal(ours["qkv.bias"], expected)


def test_what_a_block_that_is_not_published_holds_is_lost() -> None:
    names = Names([joined(["q", None], "qk")])
    assert equal(dict(names.own(names.published({"qk": torch.arange(1.0, 5)})))["qk"], [1, 2, 0, 0])


def test_cut_gives_rows_in_turn() -> None:
    ours = own([cut("table", [("first", 1), ("second", 2), ("third", 3)])], {"table": ROWS})
    assert equal(ours["first"], [[0, 1]])
    assert equal(ours["second"], [[2, 3], [4, 5]])
    assert equal(ours["third"], ROWS[3:])


@pytest.mark.parametrize("unused", [0, 1, 2])
def test_rows_that_are_not_used_are_published_as_zeros(unused: int) -> None:
    """RAR's table has a row for a mask that none of its models feeds."""
    parts: list[tuple[str | None, int]] = [("first", 2), ("second", 2)]
    parts.insert(unused, (None, 2))
    names = Names([cut("table", parts)])
    ours = dict(names.own({"table": ROWS}))
    assert list(ours) == ["first", "second"]
    again = names.published(ours)["table"]
    kept = [row for row in range(6) if row // 2 != unused]
    assert torch.equal(again[kept], ROWS[kept])
    assert not again[2 * unused : 2 * unused + 2].any()
    assert all(torch.equal(value, dict(names.own({"table": again}))[name]) for name, value in ours.items())


def test_cut_of_no_rows() -> None:
    ours = own([cut("table", [("none", 0), ("all", 6)])], {"table": ROWS})
    assert ours["none"].shape == (0, 2)


def test_constant_is_held_fixed_and_not_published() -> None:
    rule = constant("still", lambda: torch.zeros(1, 3))
    assert equal(own([rule], {})["still"], [[0, 0, 0]])
    assert Names([rule]).published({"still": torch.ones(1, 3)}) == {}


def test_rows_of_any_number_of_axes() -> None:
    """Biases and convolutions as well as matrices."""
    for tail in ((), (3,), (3, 2, 2)):
        rows = torch.randn(6, *tail)
        own([reordered("t", "o", [1, 2, 0])], {"t": rows})
        own([permuted("t", "o", torch.randperm(6))], {"t": rows[None]})
        own([cut("t", [("a", 4), ("b", 2)])], {"t": rows})
        own([joined(["a", None, "b"], "o")], {"a": rows, "b": rows + 1})


def test_half_precision_becomes_whole_before_anything_is_added() -> None:
    half = ROWS.half()
    assert dict(Names([joined(["q", None], "o")]).own({"q": half}))["o"].dtype == torch.float32
    assert Names([cut("t", [("a", 6), (None, 2)])]).published({"a": half})["t"].dtype == torch.half


# ---- tables


def test_a_table_takes_no_notice_of_what_is_not_in_it() -> None:
    names = Names([same("a", "x")])
    assert list(dict(names.own({"a": ROWS, "freqs_cis": ROWS}))) == ["x"]
    assert list(names.published({"x": ROWS, "y": ROWS})) == ["a"]
    assert dict(Names([]).own({"a": ROWS})) == {}


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        ([same("a", "x"), same("a", "y")], "a"),
        ([same("a", "x"), same("b", "x")], "x"),
        ([joined(["a", "a"], "x")], "a"),
        ([cut("a", [("x", 1), ("x", 1)])], "x"),
        ([same("a", "x"), constant("x", lambda: ROWS)], "x"),
        ([joined(["a", "b"], "x"), cut("b", [("y", 3), ("z", 3)])], "b"),
    ],
)
def test_no_tensor_stands_in_two_rules(rules: list[Rule], name: str) -> None:
    with pytest.raises(ValueError, match=f"^names: {name} stands in two rules$"):
        Names(rules)


def test_the_same_name_on_either_side_is_no_contradiction() -> None:
    theirs = {"a": ROWS, "b": ROWS + 1}
    ours = own([same("a", "b"), same("b", "a")], theirs)
    assert ours["b"] is theirs["a"]
    assert ours["a"] is theirs["b"]


def test_a_tensor_that_is_not_there_is_named() -> None:
    names = Names([same("a", "x"), joined(["q", "k"], "qk")])
    with pytest.raises(KeyError, match="'k'"):
        dict(names.own({"a": ROWS, "q": ROWS}))
    with pytest.raises(KeyError, match="'qk'"):
        names.published({"x": ROWS})


def test_a_rule_must_give_what_it_names() -> None:
    """One that a family wrote itself."""
    rule = Rule(("a",), ("x", "y"), lambda value: (value,), lambda x, y: (x + y,))
    with pytest.raises(ValueError, match="shorter"):
        dict(Names([rule]).own({"a": ROWS}))


def test_parts_of_other_sizes_are_refused() -> None:
    with pytest.raises(RuntimeError, match="split"):
        dict(Names([cut("t", [("a", 4), ("b", 1)])]).own({"t": ROWS}))
    with pytest.raises(ValueError, match="shorter"):
        Names([joined(["a", "b", "c", "d"], "o")]).published({"o": ROWS})
