"""``arlab list pairs``: which orderings, heads and tokenizers go together, found by building them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from arlab.cli.errors import suggestion

if TYPE_CHECKING:
    from arlab.conformance.pairs import TokenKind, Tried
    from arlab.heads.head import Head
    from arlab.orderings.ordering import Ordering

_NONE = "-"
_WRONG = "!"
_GAP = 2
_HINT = "Why a cell is as it is, for every kind of tokens: arlab list pairs NAME, of an ordering or a head."
_CONDITIONS = (
    "All parts have their default options, the backbone what the ordering needs. Options may ask for more: an ordering "
    "that chooses tokens by their probability needs a head that tells it."
)


def list_pairs(console: Console, name: str | None, *, markdown: bool) -> int:
    """Print the matrix of orderings and heads; 1 if building a pair fails by no refusal.

    Args:
        console: where to.
        name: an ordering or a head to show in full; None for all.
        markdown: a table for documents, and nothing else.

    Raises:
        ValueError: there is no such ordering or head.
    """
    import torch

    from arlab.cli.catalogue import components
    from arlab.conformance.families import needed
    from arlab.conformance.pairs import matrix
    from arlab.heads.head import Head
    from arlab.orderings.ordering import Ordering

    # What is built is small, and threads would only wait for each other.
    torch.set_num_threads(1)
    every = [each.cls for each in components() if issubclass(each.cls, (Ordering, Head))]
    # A toy is no component.
    every = [cls for cls in every if not cls.__module__.startswith("arlab.conformance")]
    able = [cls for cls in every if not needed(cls)]
    orderings = [cls for cls in able if issubclass(cls, Ordering)]
    heads = [cls for cls in able if issubclass(cls, Head)]
    if name is not None:
        orderings, heads = _chosen(name, orderings, heads)
    cells = matrix(orderings, heads)
    if markdown:
        print(markdown_table(cells))
    else:
        console.print(_table(cells, console.width))
        console.print(Text("\n".join(_legend(cells))))
        console.print(_full(cells) if name is not None else _reasons(cells))
        left_out = [cls.__name__ for cls in every if cls not in able]
        if left_out:
            console.print(Text(f"\nleft out, since they have options without a default: {', '.join(left_out)}"))
    return 0 if all(cell.meant for cell in cells) else 1


def markdown_table(cells: Sequence[Tried]) -> str:
    """One row per ordering, one column per head; in a cell the kinds of tokens they work with, or a dash."""
    heads = _heads(cells)
    lines = [f"| ordering | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for ordering in _orderings(cells):
        row = [_cell(_of(cells, ordering, head), lambda kind: kind.name, ", ") for head in heads]
        lines.append(f"| {ordering} | {' | '.join(row)} |")
    return "\n".join(lines)


def _chosen(
    name: str, orderings: list[type[Ordering]], heads: list[type[Head]]
) -> tuple[list[type[Ordering]], list[type[Head]]]:
    """The row or column of this name."""
    row = [cls for cls in orderings if cls.__name__.lower() == name.lower()]
    column = [cls for cls in heads if cls.__name__.lower() == name.lower()]
    if not row and not column:
        known = [cls.__name__ for cls in (*orderings, *heads)]
        raise ValueError(f"no ordering or head with default options is called {name!r}.{suggestion(name, known)}")
    return row or orderings, column or heads


def _table(cells: Sequence[Tried], width: int) -> Table:
    heads = _heads(cells)
    names = _orderings(cells)
    wide = sum(len(head) + _GAP for head in heads) + max(map(len, names)) + _GAP
    table = Table(box=None, header_style="bold")
    table.add_column("ordering", no_wrap=True)
    for head in heads:
        # What does not fit side by side goes below: Gaussian, Mixture, Head.
        table.add_column(head if wide <= width else "\n".join(re.findall(r"[A-Z][^A-Z]*", head)), no_wrap=True)
    for ordering in names:
        row = [_cell(_of(cells, ordering, head), lambda kind: kind.mark, " ") for head in heads]
        table.add_row(ordering, *(Text(cell, style=_style(cell)) for cell in row))
    return table


def _cell(cells: Sequence[Tried], named: Callable[[TokenKind], str], between: str) -> str:
    if not all(cell.meant for cell in cells):
        return _WRONG
    return between.join(named(cell.kind) for cell in cells if cell.works) or _NONE


def _style(cell: str) -> str:
    return {_NONE: "dim", _WRONG: "bold red"}.get(cell, "green")


def _legend(cells: Sequence[Tried]) -> list[str]:
    kinds = dict.fromkeys(cell.kind for cell in cells)
    marks = [f"{kind.mark} {kind.what}" for kind in kinds]
    return ["", f"{', '.join(marks)}; {_NONE} they do not go together; {_WRONG} an error", _CONDITIONS]


def _full(cells: Sequence[Tried]) -> Text:
    """Every cell with every kind of tokens."""
    text = Text()
    for ordering in _orderings(cells):
        for head in _heads(cells):
            text.append(f"\n{ordering} x {head}\n", "bold")
            for cell in _of(cells, ordering, head):
                text.append(f"  {cell.kind.name:<8} ", "green" if cell.works else "dim")
                text.append(f"{cell.why or 'works'}\n")
    text.rstrip()
    return text


def _reasons(cells: Sequence[Tried]) -> Text:
    """Why there is nothing in a cell, each reason once."""
    found: dict[str, list[tuple[str, str]]] = {}
    for ordering in _orderings(cells):
        for head in _heads(cells):
            own = _of(cells, ordering, head)
            if not any(cell.works for cell in own) or not all(cell.meant for cell in own):
                for why in _telling(own, cells):
                    # The same is told of others.
                    found.setdefault(re.sub(rf"\b({ordering}|{head})\b", "it", why), []).append((ordering, head))
    text = Text()
    for why, pairs in found.items():
        text.append(f"\n{_where(pairs)}\n", "bold").append(f"  {why}\n")
    return text.append(f"\n{_HINT}")


def _telling(own: Sequence[Tried], cells: Sequence[Tried]) -> list[str]:
    """What a pair says of the tokens that both take with others; where there are none, of those the ordering takes.

    That it refuses what it refuses in any company says nothing about the pair.
    """
    wrong = [cell for cell in own if not cell.meant]
    ordering, head = own[0].ordering, own[0].head
    by_ordering = {cell.kind for cell in cells if cell.works and cell.ordering is ordering}
    by_head = {cell.kind for cell in cells if cell.works and cell.head is head}
    telling = by_ordering & by_head or by_ordering
    said = wrong or [cell for cell in own if cell.kind in telling] or own
    return list(dict.fromkeys(cell.why for cell in said if cell.why is not None))


def _where(pairs: Iterable[tuple[str, str]]) -> str:
    """Hilbert, Raster x FlowHead: orderings with the same heads together."""
    heads_of: dict[str, list[str]] = {}
    for ordering, head in pairs:
        heads_of.setdefault(ordering, []).append(head)
    together: dict[tuple[str, ...], list[str]] = {}
    for ordering, heads in heads_of.items():
        together.setdefault(tuple(heads), []).append(ordering)
    return "; ".join(f"{', '.join(orderings)} x {', '.join(heads)}" for heads, orderings in together.items())


def _of(cells: Sequence[Tried], ordering: str, head: str) -> list[Tried]:
    return [cell for cell in cells if (cell.ordering.__name__, cell.head.__name__) == (ordering, head)]


def _orderings(cells: Sequence[Tried]) -> list[str]:
    return list(dict.fromkeys(cell.ordering.__name__ for cell in cells))


def _heads(cells: Sequence[Tried]) -> list[str]:
    return list(dict.fromkeys(cell.head.__name__ for cell in cells))
