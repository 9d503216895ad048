"""``arlab list families``: whose released weights ``arlab import`` reads, their presets and their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from arlab.cli.errors import suggestion

if TYPE_CHECKING:
    from arlab.checkpoints.family import Family, GeneratorFamily

_HINT = "With what each setting means: arlab list families NAME. How they are imported: arlab import --help"


def list_families(console: Console, name: str | None) -> int:
    """Print the families, or all of one.

    Args:
        console: where to.
        name: of a family, as ``arlab import --family`` takes it; None for all.

    Raises:
        ValueError: there is no such family.
    """
    from arlab.checkpoints.importing import families

    known = families()
    if name is None:
        console.print(_table(known))
        console.print(Text(f"\n{_HINT}"))
        return 0
    if name.lower() not in known:
        raise ValueError(f"list: no family is called {name!r}.{suggestion(name, known)}")
    _print_one(console, name.lower(), known[name.lower()])
    return 0


def _table(known: dict[str, type[GeneratorFamily]]) -> Table:
    from arlab.cli.catalogue import Component

    table = Table(box=None, header_style="bold")
    for column, ratio in (("name", None), ("what", 3), ("presets", 2), ("settings", 2), ("paper", None)):
        table.add_column(column, ratio=ratio, no_wrap=ratio is None)
    for name, family in known.items():
        component = Component(family)
        papers = ", ".join(f"arXiv {paper.number}" for paper in component.papers[:1])
        settings = ", ".join(dict.fromkeys(key.name for each in _all(family) for key in Component(each).options))
        table.add_row(*map(Text, (name, component.summary, ", ".join(family.presets), settings, papers)))
    return table


def _print_one(console: Console, name: str, family: type[GeneratorFamily]) -> None:
    """What ``--set`` takes, of the generator and of its tokenizers, and what each preset sets."""
    from arlab.cli.catalogue import Component
    from arlab.cli.components import options_table, yaml_text

    for each in _all(family):
        component = Component(each)
        console.print(Text.assemble((each.__name__, "bold"), f"  {each.__module__}\n"))
        console.print(Text(component.body + "\n"))
        if component.options:
            console.print(Text("settings (--set KEY=VALUE)", style="bold"), options_table(component), Text(""))
    if family.presets:
        console.print(Text("presets", style="bold"))
        for preset, options in family.presets.items():
            # Without spaces, as --set takes them.
            told = " ".join(f"{key}={yaml_text(value).replace(' ', '')}" for key, value in options.items())
            console.print(Text(f"  {preset:<16} {told}".rstrip()))
        console.print()
    files = " ".join(["GENERATOR", *(["TOKENIZER"] if family.tokenizers else [])])
    preset = f" --preset {next(iter(family.presets))}" if family.presets else ""
    console.print(Text(f"arlab import {files} --family {name}{preset} --out released/{name}"))


def _all(family: type[GeneratorFamily]) -> list[type[Family]]:
    return [family, *family.tokenizers]
