from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arlab.backbones.cache import Cache
from arlab.orderings.ordering import slots
from arlab.orderings.step import Kind, Slots

HEADS, WIDTH = 2, 4


def rows(*index: int, keep: tuple[bool, ...] | None = None) -> Slots:
    column = torch.tensor(index)
    fed = slots(Kind.TOKEN, column, column, 0)
    kept = fed.keep if keep is None else torch.tensor(keep)
    return Slots(fed.kind, fed.source, fed.at, fed.step, fed.order, kept)


def keys(fed: Slots, batch: int = 1) -> Tensor:
    """(B, H, S, E): each row holds 100 · sample + its token, so that it can be recognised."""
    value_BS = 100 * torch.arange(batch)[:, None] + fed.source
    return value_BS[:, None, :, None].expand(-1, HEADS, -1, WIDTH).float()


def feed(cache: Cache, fed: Slots, batch: int = 1, layers: int = 1) -> Tensor:
    """Feed and commit; the keys the last layer attended to."""
    for layer in range(layers):
        seen, values = cache.extend(layer, keys(fed, batch), -keys(fed, batch))
        assert torch.equal(seen, -values)
    seen = seen.clone()  # a view: commit moves what stays
    cache.commit(fed)
    return seen


def recognised(seen: Tensor, sample: int = 0) -> list[int]:
    return seen[sample, 0, :, 0].int().tolist()


def source(cache: Cache) -> list[int]:
    kept = cache.rows()
    return [] if kept is None else kept.source.tolist()


def test_a_step_attends_to_what_was_kept_and_fed() -> None:
    cache = Cache(8)
    assert cache.rows() is None
    assert recognised(feed(cache, rows(0, 1))) == [0, 1]
    assert recognised(feed(cache, rows(2))) == [0, 1, 2]
    assert (cache.length(), source(cache)) == (3, [0, 1, 2])


def test_rows_that_do_not_stay_are_seen_once() -> None:
    cache = Cache(8)
    feed(cache, rows(0))
    assert recognised(feed(cache, rows(1, 2, 3, 4, keep=(False, True, False, True)))) == [0, 1, 2, 3, 4]
    assert source(cache) == [0, 2, 4]
    assert recognised(feed(cache, rows(5))) == [0, 2, 4, 5]


def test_nothing_stays() -> None:
    cache = Cache(4)
    feed(cache, rows(0, 1, keep=(False, False)))
    assert (cache.length(), cache.rows()) == (0, None)
    assert recognised(feed(cache, rows(2))) == [2]


def test_a_step_fed_twice_before_commit_is_written_over() -> None:
    cache = Cache(8)
    feed(cache, rows(0))
    cache.extend(0, keys(rows(7)), keys(rows(7)))
    assert recognised(feed(cache, rows(1))) == [0, 1]


def test_it_grows() -> None:
    cache = Cache(2)
    feed(cache, rows(0, 1))
    assert recognised(feed(cache, rows(2, 3, 4))) == [0, 1, 2, 3, 4]
    assert cache.capacity >= 5


def test_truncate_forgets_from_the_end() -> None:
    cache = Cache(8)
    feed(cache, rows(0, 1))
    feed(cache, rows(2, 3))
    cache.truncate(3)
    assert (cache.length(), source(cache)) == (3, [0, 1, 2])
    assert recognised(feed(cache, rows(9))) == [0, 1, 2, 9]
    cache.truncate(100)
    assert cache.length() == 4
    cache.truncate(0)
    assert cache.length() == 0
    assert recognised(feed(cache, rows(5))) == [5]


@pytest.mark.parametrize("parents", [[2, 0, 1], [1, 1, 1], [0, 2], [0, 0, 1, 1, 2, 2]])
def test_reorder_goes_on_from_other_samples(parents: list[int]) -> None:
    cache = Cache(8)
    drawn = torch.tensor([[0, 1], [1, 2], [2, 0]])
    fed = slots(Kind.TOKEN, drawn, drawn, 0)
    for layer in range(2):
        cache.extend(layer, keys(fed, 3), -keys(fed, 3))
    cache.commit(fed)
    cache.reorder(torch.tensor(parents))
    kept = cache.rows()
    assert kept is not None
    assert torch.equal(kept.source, drawn[parents])
    for layer in range(2):
        seen, values = cache.extend(layer, keys(rows(3), len(parents)), -keys(rows(3), len(parents)))
        expected = torch.cat((keys(fed, 3)[parents], keys(rows(3), len(parents))), 2)
        assert torch.equal(seen, expected)
        assert torch.equal(values, -expected)


def test_prune_keeps_some_rows_of_one_layer() -> None:
    cache = Cache(8)
    feed(cache, rows(0, 1, 2, 3), layers=2)
    cache.prune(1, torch.tensor([3, 1]))
    assert (cache.length(0), cache.length(1)) == (4, 2)
    cache.extend(0, keys(rows(4)), -keys(rows(4)))
    seen, _ = cache.extend(1, keys(rows(4)), -keys(rows(4)))
    assert recognised(seen) == [3, 1, 4]
    cache.commit(rows(4))
    pruned = cache.rows(1)
    assert pruned is not None
    assert pruned.source.tolist() == [3, 1, 4]
    assert source(cache) == [0, 1, 2, 3, 4]


def test_prune_and_leave_in_one_step() -> None:
    cache = Cache(8)
    feed(cache, rows(0, 1, 2), layers=2)
    cache.prune(1, torch.tensor([2]))
    feed(cache, rows(3, 4, keep=(False, True)), layers=2)
    for layer, expected in ((0, [0, 1, 2, 4, 5]), (1, [2, 4, 5])):
        seen, _ = cache.extend(layer, keys(rows(5)), keys(rows(5)))
        assert recognised(seen) == expected


def feed_some(cache: Cache, fed: Slots, given: list[int]) -> None:
    """Feed layer 0 only some of the rows, layer 1 all of them."""
    some = fed.select(torch.tensor(given, dtype=torch.long))
    cache.extend(0, keys(some), -keys(some), torch.tensor(given, dtype=torch.long))
    cache.extend(1, keys(fed), -keys(fed))
    cache.commit(fed)


def test_a_layer_that_gets_only_some_rows_keeps_of_these_what_stays() -> None:
    cache = Cache(4)
    feed_some(cache, rows(0, 1, 2), [])
    feed_some(cache, rows(3, 4, 5, 6, keep=(True, False, True, False)), [1, 2])
    feed_some(cache, rows(7, 8), [0, 1])
    assert (cache.length(0), cache.length(1), source(cache)) == (3, 7, [0, 1, 2, 3, 5, 7, 8])
    for layer, expected in ((0, [5, 7, 8, 9]), (1, [0, 1, 2, 3, 5, 7, 8, 9])):
        seen, _ = cache.extend(layer, keys(rows(9)), keys(rows(9)))
        assert recognised(seen) == expected


def test_a_layer_may_get_some_rows_only_from_some_step_on() -> None:
    cache = Cache(8)
    feed(cache, rows(0, 1), layers=2)
    feed_some(cache, rows(2, 3), [1])
    feed(cache, rows(4), layers=2)
    for layer, expected in ((0, [0, 1, 3, 4, 9]), (1, [0, 1, 2, 3, 4, 9])):
        seen, _ = cache.extend(layer, keys(rows(9)), keys(rows(9)))
        assert recognised(seen) == expected


def test_an_empty_cache_cannot_be_pruned() -> None:
    with pytest.raises(ValueError, match="nothing to prune"):
        Cache(4).prune(0, torch.tensor([0]))
