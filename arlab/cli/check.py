"""``arlab check``: whether a component obeys the laws of its kind, and where it does not, the smallest case."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

from arlab.cli.errors import USAGE
from arlab.cli.parser import Parser
from arlab.cli.plan import parse_grid

_EXAMPLES = """\
  arlab check plugins/spiral.py
  arlab check NextScale markov=true
  arlab check NextScale 'patch_nums=[1, 2, 4]' --grid 4x4 --grid 2x4
  arlab check experiments/fashion/raster.yaml
  arlab check orderings"""
_DESCRIPTION = """\
Try the laws of a kind on a component, on grids of several shapes and with several numbers of condition slots.

For each law that is broken, the smallest case is told, and what it means. What the laws are: docs/conformance.md.
Exit status: 0 when all laws hold, 1 when one is broken (or a component takes none of the grids), 2 for mistakes in the
command and for a file of a folder that cannot be loaded (the others are checked all the same)."""
_BROKEN = 1
_MOST_CELLS = 1024
_WIDTH_OF_FILES = 140


def parser() -> Parser:
    """The options of the command."""
    options = Parser(command="check", description=_DESCRIPTION, examples=_EXAMPLES)
    options.add_argument(
        "target",
        metavar="TARGET",
        help="a plugin's file or a folder of plugins (every component in it), a class, a kind (orderings), 'all', an "
        "experiment's YAML file or a run (its ordering, head and pyramid, on its own grid)",
    )
    options.add_argument("options", nargs="*", metavar="KEY=VALUE", help="options of the class")
    options.add_argument(
        "--grid",
        action="append",
        metavar="HxW",
        help="try this grid, also N or TxHxW (may be repeated), in place of 3x3, 2x3, 1x4, 5 and 2x3x2; for a "
        "tokenizer: this size of image",
    )
    options.add_argument("--out", type=Path, metavar="FILE.md", help="also write a table of the components (Markdown)")
    options.add_plugins()
    return options


def main(argv: list[str]) -> int:
    """Run the command; 1 if a law is broken."""
    options = parser().read(argv)
    grids = None if options.grid is None else [_grid(word) for word in options.grid]
    if options.out is not None:
        _check_out(options.out)

    import torch
    from rich.console import Console

    from arlab.cli.check_targets import reports_of
    from arlab.conformance.report import markdown, show
    from arlab.runs.files import write_text

    # What is computed is small, and threads would only wait for each other.
    torch.set_num_threads(1)
    with Console(stderr=True).status("trying the laws"):
        unloaded: list[str] = []
        reports = list(reports_of(options.target, options.options, grids, options.plugins, unloaded.append))
    own_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    console = Console(width=None if own_width else _WIDTH_OF_FILES, highlight=False)
    show(console, reports, laws=len(reports) <= 3)
    for why in unloaded:
        print(f"arlab: error: {why}", file=sys.stderr)
    if options.out is not None:
        write_text(options.out, markdown(reports))
    if unloaded:
        return USAGE
    return 0 if all(report.holds for report in reports) else _BROKEN


def _grid(word: str) -> tuple[int, ...]:
    grid = parse_grid(word)
    if math.prod(grid) > _MOST_CELLS:
        raise ValueError(f"grid: laws are tried on at most {_MOST_CELLS} cells, got {word}")
    return grid


def _check_out(out: Path) -> None:
    from arlab.runs.files import refuse_unwritable

    if out.suffix.lower() != ".md":
        raise ValueError(f"out: must be a .md file, got {out}")
    if out.is_dir():
        raise ValueError(f"out: {out} is a folder; name a file")
    refuse_unwritable("out", out)
