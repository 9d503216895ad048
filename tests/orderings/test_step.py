from __future__ import annotations

import pytest
import torch

from arlab.orderings.ordering import Prefix, condition_slots, slots
from arlab.orderings.step import Kind, Layout, Read, Slots, Step

# ---- Layout


def test_flat_grid_is_row_major() -> None:
    layout = Layout(((2, 3),))
    assert (layout.num_tokens, layout.num_axes, layout.finest) == (6, 2, (2, 3))
    assert layout.cell_NA.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert torch.equal(layout.place_NA, layout.cell_NA.float())


def test_levels_follow_each_other_and_share_the_finest_units() -> None:
    layout = Layout(((1, 1), (1, 2), (2, 4)))
    assert (layout.sizes, layout.first, layout.num_tokens, layout.finest) == ((1, 2, 8), (0, 1, 3), 11, (2, 4))
    assert layout.level_N.tolist() == [0, 1, 1, *[2] * 8]
    assert layout.tokens(1) == slice(1, 3)
    assert layout.place_NA[layout.tokens(1)].tolist() == [[0, 0], [0, 2]]
    assert layout.place_NA[-1].tolist() == [1, 3]


def test_finest_is_per_axis() -> None:
    """A band may be wide but low, another narrow but high."""
    layout = Layout(((1, 4), (2, 2)))
    assert layout.finest == (2, 4)
    assert layout.place_NA[layout.tokens(1)].tolist() == [[0, 0], [0, 2], [1, 0], [1, 2]]


def test_video_and_one_dimension() -> None:
    video = Layout(((2, 2, 3),))
    assert (video.num_tokens, video.num_axes) == (12, 3)
    assert video.cell_NA[7].tolist() == [1, 0, 1]
    line = Layout(((4,),))
    assert line.cell_NA.tolist() == [[0], [1], [2], [3]]


@pytest.mark.parametrize("shapes", [(), ((2, 2), (4,)), ((0, 3),)])
def test_impossible_layouts_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="shapes"):
        Layout(shapes)


def test_layouts_are_equal_by_shape() -> None:
    assert Layout(((2, 3),)) == Layout(((2, 3),))
    assert len({Layout(((2, 3),)), Layout(((2, 3),)), Layout(((3, 2),))}) == 2


# ---- Slots


def tokens(*index: int, step: int = 0, keep: bool = True) -> Slots:
    column = torch.tensor(index)
    return slots(Kind.TOKEN, column, column, step, keep=keep)


def test_cat_keeps_rows_and_fills_missing_columns() -> None:
    told = tokens(4, 5, step=1)
    told = Slots(told.kind, told.source, told.at, told.step, told.order, told.keep, target=torch.tensor([7, 8]))
    fed = Slots.cat([condition_slots(Prefix(2)), told])
    assert fed.kind.tolist() == [Kind.COND, Kind.COND, Kind.TOKEN, Kind.TOKEN]
    assert fed.source.tolist() == [0, 1, 4, 5]
    assert fed.at.tolist() == [-1, -1, 4, 5]
    assert fed.step.tolist() == [0, 0, 1, 1]
    assert fed.target is not None
    assert fed.target.tolist() == [-1, -1, 7, 8]
    assert fed.valid is None
    assert fed.batch is None
    assert len(fed) == 4


def test_cat_widens_columns_that_differ_per_sample() -> None:
    drawn = torch.tensor([[2, 0], [1, 2], [0, 1]])
    valid = torch.tensor([[True], [False], [True]])
    fed = Slots.cat([condition_slots(Prefix(1, valid)), slots(Kind.TOKEN, drawn, drawn, 1), tokens(3, step=2)])
    assert fed.batch == 3
    assert fed.source.tolist() == [[0, 2, 0, 3], [0, 1, 2, 3], [0, 0, 1, 3]]
    assert fed.at[1].tolist() == [-1, 1, 2, 3]
    assert fed.kind.tolist() == [0, 1, 1, 1]
    assert fed.valid is not None
    assert fed.valid[:, 0].tolist() == [True, False, True]
    assert fed.valid[:, 1:].all()


def test_select_takes_rows_by_index_or_mask() -> None:
    drawn = torch.tensor([[2, 0, 1], [1, 2, 0]])
    fed = slots(Kind.TOKEN, drawn, drawn, 0)
    assert fed.select(torch.tensor([2, 0])).source.tolist() == [[1, 2], [0, 1]]
    assert fed.select(torch.tensor([False, True, True])).order.tolist() == [1, 2]


def test_samples_reorders_what_differs_per_sample_only() -> None:
    drawn = torch.tensor([[2, 0], [1, 2]])
    fed = slots(Kind.TOKEN, drawn, torch.tensor([0, 1]), 0).samples(torch.tensor([1, 1, 0]))
    assert fed.source.tolist() == [[1, 2], [1, 2], [2, 0]]
    assert fed.at.tolist() == [0, 1]


def test_by_kind_groups_rows_and_restores_their_order() -> None:
    mixed = Slots.cat([tokens(0), condition_slots(Prefix(1)), tokens(1, 2)])
    kinds, inverse = mixed.by_kind
    assert [(kind, rows.tolist()) for kind, rows in kinds] == [(Kind.COND, [1]), (Kind.TOKEN, [0, 2, 3])]
    assert inverse is not None
    grouped = torch.cat([mixed.source[rows] for _, rows in kinds])
    assert grouped[inverse].tolist() == mixed.source.tolist()
    assert Slots.cat([condition_slots(Prefix(1)), tokens(0)]).by_kind[1] is None


def test_staying_and_one_step() -> None:
    fed = Slots.cat([tokens(0, 1, step=1), tokens(2, step=1, keep=False)])
    assert fed.one_step
    assert fed.staying is not None
    assert fed.staying.tolist() == [0, 1]
    assert tokens(0).staying is None
    assert not Slots.cat([tokens(0), tokens(1, step=1)]).one_step


# ---- Read and Step


def test_by_way_lists_the_reads_that_count() -> None:
    read = Read(
        torch.tensor([5, 6]),
        slot=torch.tensor([[0, 0], [0, 1]]),
        way=torch.tensor([[1, 0], [0, 1]]),
        weight=torch.tensor([[1.0, 0.0], [0.25, 0.75]]),
    )
    assert not read.single
    assert {way: [part.tolist() for part in parts] for way, parts in read.by_way.items()} == {
        0: [[1], [0], [0.25]],
        1: [[0, 1], [0, 1], [1.0, 0.75]],
    }
    assert Read.own(torch.tensor([3]), torch.tensor([0])).single


def test_step_cat_shifts_slots_and_pads_reads() -> None:
    first = Step(condition_slots(Prefix(2)), Read.own(torch.tensor([0]), torch.tensor([1])))
    both = Read(
        torch.tensor([1, 2]), torch.tensor([[0, 0], [0, 0]]), torch.tensor([[0, 1]] * 2), torch.full((2, 2), 0.5)
    )
    whole = Step.cat([first, Step(tokens(0, step=1), both)])
    assert whole.read.token.tolist() == [0, 1, 2]
    assert whole.read.slot.tolist() == [[1, 0], [2, 2], [2, 2]]
    assert whole.read.weight.tolist() == [[1, 0], [0.5, 0.5], [0.5, 0.5]]
    assert {way: rows.tolist() for way, (rows, _, _) in whole.read.by_way.items()} == {0: [0, 1, 2], 1: [1, 2]}
    assert whole.group_M.tolist() == [0, 1, 1]
    assert len(whole.feed) == 3


def test_step_cat_widens_tokens_that_differ_per_sample() -> None:
    drawn = Read.own(torch.tensor([[2], [1]]), torch.tensor([0]))
    whole = Step.cat([Step(tokens(0), Read.own(torch.tensor([0]), torch.tensor([0]))), Step(tokens(1, step=1), drawn)])
    assert whole.read.token.tolist() == [[0, 2], [0, 1]]
    assert whole.read.slot.tolist() == [[0], [1]]


# ---- what is known of rows goes with them


def test_nothing_is_read_on_another_device() -> None:
    """Tensors on the meta device hold nothing: whoever reads them fails."""
    fed = Slots.cat([tokens(0), condition_slots(Prefix(1)), tokens(1, 2, step=1, keep=False)])
    way, weight = torch.tensor([[0, 1], [1, 0]]), torch.full((2, 2), 0.5)
    here = Step(fed, Read(torch.tensor([3, 4]), torch.tensor([[0, 2], [2, 3]]), way, weight))
    there = here.to(torch.device("meta"))
    assert there.feed.kind.is_meta
    kinds, inverse = there.feed.by_kind
    assert [(kind, len(rows), rows.is_meta) for kind, rows in kinds] == [(Kind.COND, 1, True), (Kind.TOKEN, 3, True)]
    assert inverse is not None
    assert inverse.is_meta
    assert not there.feed.one_step
    assert there.feed.staying is not None
    assert (there.feed.staying.is_meta, len(there.feed.staying)) == (True, 2)
    assert not there.read.single
    assert [(number, *(part.shape for part in parts)) for number, parts in there.read.by_way.items()] == [
        (number, *(part.shape for part in parts)) for number, parts in here.read.by_way.items()
    ]
    assert all(part.is_meta for parts in there.read.by_way.values() for part in parts)
    assert there.group_M.is_meta
    assert here.group_M.tolist() == [0, 1]
    # Nor is anything read of rows that are there already.
    assert there.to(torch.device("meta")).feed.kind.is_meta
