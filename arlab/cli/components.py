"""``arlab list`` and ``arlab describe``: what there is to choose from, and what it is."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from arlab.cli.parser import Parser
from arlab.cli.plan import check_out, parse_grid, write_plan

if TYPE_CHECKING:
    from arlab.cli.catalogue import Component

PAIRS = "pairs"
"""Stands where a kind does, and asks which of two kinds go together."""
FAMILIES = "families"
"""The same, and asks whose released weights can be imported."""
_WIDTH_OF_FILES = 140


def list_components(argv: list[str]) -> int:
    """Run ``arlab list``."""
    parser = Parser(
        command="list",
        description="The components a configuration can name, by kind; or which orderings and heads go together;\n"
        "or the families of released weights that arlab import reads.",
        examples="  arlab list\n  arlab list orderings\n  arlab list pairs\n  arlab list pairs NextScale\n"
        "  arlab list families\n  arlab list families llamagen",
    )
    parser.add_argument(
        "kind", nargs="?", metavar="KIND", help="orderings, heads, tokenizers, ... (all); or pairs, or families"
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="of pairs: an ordering or a head; of families: one; shown in full"
    )
    parser.add_argument("--markdown", action="store_true", help="of pairs: a table for documents, and nothing else")
    parser.add_plugins()
    options = parser.read(argv)
    full = options.kind == PAIRS or (options.kind == FAMILIES and not options.markdown)
    if not full and (options.name is not None or options.markdown):
        given = "--markdown" if options.markdown else options.name
        raise ValueError(f"list: unexpected {given!r}; it is for the matrix of orderings and heads: arlab list pairs")

    from arlab.cli.catalogue import WITHOUT_BASE, kinds, of_kind
    from arlab.discovery import discover
    from arlab.plugins import load_all

    discover()
    load_all(options.plugins)
    console = _console()
    if options.kind == PAIRS:
        from arlab.cli.pairs import list_pairs

        return list_pairs(console, options.name, markdown=options.markdown)
    if options.kind == FAMILIES:
        from arlab.cli.families import list_families

        return list_families(console, options.name)
    if options.kind is not None:
        console.print(_table(of_kind(options.kind)))
        return 0
    counts = Table(box=None, header_style="bold")
    counts.add_column("kind", no_wrap=True)
    counts.add_column("number", justify="right")
    counts.add_column("what")
    summaries = {kind: base.summary for kind, base in kinds().items()} | WITHOUT_BASE
    grouped = {kind: of_kind(kind) for kind in summaries}
    for kind, members in grouped.items():
        counts.add_row(kind, str(sum(not each.abstract for each in members)), Text(summaries[kind]))
    console.print(counts)
    for kind, members in grouped.items():
        console.print(Text(f"\n{kind}", style="bold"))
        console.print(_table(members))
    console.print(Text("\nreleased weights that can be imported: arlab list families"))
    return 0


def describe(argv: list[str]) -> int:
    """Run ``arlab describe``."""
    parser = Parser(
        command="describe",
        description="What a component is, its options with types, defaults and help, its paper, and how to use it.\n"
        "With --out: what an ordering plans on a grid, drawn.",
        examples="  arlab describe Raster\n  arlab describe Transformer --bibtex\n"
        "  arlab describe NextNeighbor --grid 8x6 --out plan.png\n"
        "  arlab describe NextScale 'patch_nums=[1, 2, 4]' --grid 4x4 --out plan.gif",
    )
    parser.add_argument("name", metavar="NAME", help="of a component or kind, as arlab list shows it")
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="with --out: options of the ordering")
    parser.add_argument("--grid", metavar="HxW", help="with --out: the grid of tokens; also N or TxHxW")
    parser.add_argument("--out", type=Path, metavar="FILE", help="draw an ordering's plan: .png, or .gif step by step")
    parser.add_argument(
        "--bibtex",
        action="store_true",
        help="print BibTeX entries of its papers (authors are not known) and nothing else",
    )
    parser.add_plugins()
    options = parser.read(argv)
    grid = _grid_to_draw(options)

    from arlab.cli.catalogue import find
    from arlab.discovery import discover
    from arlab.plugins import load_all

    discover()
    load_all(options.plugins)
    found = find(options.name)
    if options.bibtex:
        papers = [paper for component in found for paper in component.papers]
        if not papers:
            raise ValueError(f"{options.name}: its documentation names no paper")
        print("\n\n".join(paper.bibtex() for paper in papers))
        return 0
    if grid is not None:
        print(f"{options.out}  {write_plan(found, options.options, grid, options.out)}")
        return 0
    console = _console()
    for component in found:
        console.print(description(component))
    return 0


def _grid_to_draw(options: argparse.Namespace) -> tuple[int, ...] | None:
    """The grid whose plan is asked for; None where no picture is."""
    if options.out is None:
        if options.grid is not None or options.options:
            given = "grid" if options.grid is not None else options.options[0]
            raise ValueError(f"{given}: is for a picture of an ordering's plan; say where to: --out plan.png")
        return None
    if options.bibtex:
        raise ValueError("out: --bibtex prints and nothing else; leave one of them out")
    if options.grid is None:
        raise ValueError("out: a picture of an ordering's plan needs a grid of tokens, as --grid 8x6")
    check_out(options.out)
    return parse_grid(options.grid)


def description(component: Component) -> Group:
    """Everything about a component, ready to print."""
    module = component.cls.__module__
    where = module if component.source == module else f"{module}  {component.source}"
    parts: list[Text | Table] = [
        Text.assemble((component.name, "bold"), f"  {component.kind}  {where}\n"),
        Text(component.body + "\n"),
    ]
    if component.options:
        parts += [Text("options", style="bold"), options_table(component), Text("")]
    if component.abstract:
        methods = ", ".join(sorted(getattr(component.cls, "__abstractmethods__", ())))
        parts += [Text.assemble(("to write one", "bold"), f"\n  subclass it and define {methods}\n")]
        parts += [Text("choices", style="bold"), _table(component.implementations), Text("")]
    if component.places:
        where = ", ".join(f"{owner.__name__}.{name}" for owner, name, _ in component.places)
        parts += [Text.assemble(("goes into", "bold"), f"\n  {where}\n")]
    if component.papers:
        parts += [Text("paper", style="bold"), *(Text(f"  {paper}") for paper in component.papers), Text("")]
    if not component.abstract:
        indented = "".join(f"  {line}\n" for line in component.example().splitlines())
        parts += [Text("in a configuration file", style="bold"), Text(indented)]
    return Group(*parts)


def options_table(component: Component) -> Table:
    """Its options, with types, defaults and help."""
    table = Table(box=None, header_style="bold", pad_edge=True)
    for name in ("name", "type", "default"):
        table.add_column(name, overflow="fold")
    table.add_column("help", ratio=1)
    stand_ins = component.stand_ins
    for option in component.options:
        default = "required" if option.required else stand_ins.get(option.name) or yaml_text(option.default)
        choices = f" [{', '.join(option.choices)}]" if option.choices else ""
        table.add_row(*map(Text, (option.name, option.type, default, f"{option.help}{choices}".strip())))
    return table


def yaml_text(value: object) -> str:
    """A value as it would stand in a configuration file, on one line."""
    import yaml

    written: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000)
    return written.removesuffix("\n").removesuffix("...").strip()


def _table(components: list[Component]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("what", ratio=1)
    table.add_column("where", overflow="fold")
    table.add_column("paper", no_wrap=True)
    for component in components:
        papers = ", ".join(f"arXiv {paper.number}" for paper in component.papers[:1])
        summary = f"to subclass: {component.summary}" if component.abstract else component.summary
        table.add_row(*map(Text, (component.name, summary, component.source, papers)))
    return table


def _console() -> Console:
    """As wide as the terminal; files and pipes get lines that are seldom broken."""
    own_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if own_width else _WIDTH_OF_FILES, highlight=False)
