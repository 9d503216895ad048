"""Tables of names: published tensors and ours, each made of the other.

A table is a sequence of rules, each of which turns some published tensors into some of ours and back. What a published
checkpoint must hold is what the table makes of our model, so that nothing of it is written down twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]
BOTH = ("weight", "bias")
"""The weights of a linear map or a norm, each by its own name."""


@dataclass(frozen=True)
class Rule:
    """Some published tensors and what they are here.

    Attributes:
        theirs: names of the published tensors.
        ours: names of ours.
        to_ours: ours, of theirs in the order of ``theirs``.
        to_theirs: theirs, of ours.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    to_ours: Callable[..., Tensors]
    to_theirs: Callable[..., Tensors]


class Names:
    """The table of a model.

    Args:
        rules: in any order; no tensor stands in two of them.

    Raises:
        ValueError: one does.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        for side in ("theirs", "ours"):
            seen: set[str] = set()
            for name in (name for rule in self.rules for name in getattr(rule, side)):
                if name in seen:
                    raise ValueError(f"names: {name} stands in two rules")
                seen.add(name)

    def published(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The published tensors that our model would be released as.

        Args:
            ours: at least all of ours that stand in the table.
        """
        made: dict[str, Tensor] = {}
        for rule in self.rules:
            made |= zip(rule.theirs, rule.to_theirs(*(ours[name] for name in rule.ours)), strict=True)
        return made

    def own(self, theirs: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """Our tensors by name, of the published ones, rule by rule: a model's are never in memory at once.

        Args:
            theirs: at least all published tensors that stand in the table.
        """
        for rule in self.rules:
            given = (theirs[name] for name in rule.theirs)
            # Released in whatever precision: ours is float32, as everywhere, and so are sums of several.
            whole = (value.float() if value.is_floating_point() else value for value in given)
            yield from zip(rule.ours, rule.to_ours(*whole), strict=True)


# ---- rules


def same(theirs: str, ours: str) -> Rule:
    """The same tensor by another name."""
    return Rule((theirs,), (ours,), lambda value: (value,), lambda value: (value,))


def renamed(names: Mapping[str, str], parts: Sequence[str] = ("weight",)) -> Iterator[Rule]:
    """The same tensors by other names, 'theirs.part' to 'ours.part'."""
    for theirs, ours in names.items():
        for part in parts:
            yield same(f"{theirs}.{part}", f"{ours}.{part}")


def leading(theirs: str, ours: str) -> Rule:
    """Published with an axis of one in front."""
    return Rule((theirs,), (ours,), lambda value: (value[0],), lambda value: (value[None],))


def reordered(theirs: str, ours: str, order: Sequence[int]) -> Rule:
    """Equal blocks of rows in another order: our block i is their block ``order[i]``."""
    back = [order.index(block) for block in range(len(order))]
    return Rule((theirs,), (ours,), lambda value: (_blocks(value, order),), lambda value: (_blocks(value, back),))


def permuted(theirs: str, ours: str, index: Tensor) -> Rule:
    """Rows in another order: our row i is their row ``index[i]``; published with an axis of one in front."""
    back = index.argsort()
    return Rule((theirs,), (ours,), lambda value: (value[0, index],), lambda value: (value[None, back],))


def joined(theirs: Sequence[str | None], ours: str) -> Rule:
    """Equal blocks of rows published apart; None is a block of zeros that is not published."""
    names = tuple(name for name in theirs if name is not None)

    def together(*values: Tensor) -> Tensors:
        given = iter(values)
        return (torch.cat([torch.zeros_like(values[0]) if name is None else next(given) for name in theirs]),)

    def apart(value: Tensor) -> Tensors:
        blocks = zip(theirs, value.chunk(len(theirs)), strict=True)
        return tuple(block for name, block in blocks if name is not None)

    return Rule(names, (ours,), together, apart)


def cut(theirs: str, ours: Sequence[tuple[str | None, int]]) -> Rule:
    """Rows of one published tensor that are several of ours.

    Args:
        theirs: the published tensor.
        ours: name and number of rows of each, from the first row on; None: rows not used, published as zeros.
    """
    sizes = [size for _, size in ours]

    def apart(value: Tensor) -> Tensors:
        parts = zip(ours, value.split(sizes), strict=True)
        return tuple(part for (name, _), part in parts if name is not None)

    def together(*values: Tensor) -> Tensors:
        given = iter(values)
        blank = values[0].new_zeros
        tail = values[0].shape[1:]
        return (torch.cat([blank(size, *tail) if name is None else next(given) for name, size in ours]),)

    return Rule((theirs,), tuple(name for name, _ in ours if name is not None), apart, together)


def constant(ours: str, value: Callable[[], Tensor]) -> Rule:
    """One of ours that the release holds fixed and does not publish."""
    return Rule((), (ours,), lambda: (value(),), lambda _: ())


def _blocks(value: Tensor, order: Sequence[int]) -> Tensor:
    blocks = value.chunk(len(order))
    return torch.cat([blocks[number] for number in order])
