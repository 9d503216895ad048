"""The pictures of docs/orderings.md: python -m tests.benchmarks.orderings.

Draws every ordering's plan on 6 x 4 tokens, as ``arlab describe NAME --grid 6x4 --out NAME.png`` does, and the maps of
steps of all of them on 16 x 16 side by side.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from arlab.cli.main import main as arlab
from arlab.discovery import discover
from arlab.drawing.board import lay_out
from arlab.drawing.colours import GRAY
from arlab.drawing.marks import Sheet
from arlab.drawing.plan import Plan, read_plan
from arlab.drawing.plan_picture import draw_steps
from arlab.images import save_png
from arlab.orderings.column import Column
from arlab.orderings.hilbert import Hilbert
from arlab.orderings.masked import Masked
from arlab.orderings.next_block import NextBlock
from arlab.orderings.next_depth import NextDepth
from arlab.orderings.next_frequency import NextFrequency
from arlab.orderings.next_neighbor import NextNeighbor
from arlab.orderings.next_scale import NextScale
from arlab.orderings.next_x import NextX
from arlab.orderings.orders import RandomOrder
from arlab.orderings.random_causal import RandomCausal
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.raster import Raster
from arlab.orderings.region_parallel import RegionParallel
from arlab.orderings.snake import Snake
from arlab.orderings.z_order import ZOrder

FOLDER = Path("docs/images/orderings")
ORDERINGS = (
    Raster(),
    Column(),
    Snake(),
    Hilbert(),
    ZOrder(),
    NextNeighbor(),
    RegionParallel(),
    RandomCausal(order=RandomOrder()),
    RandomInstructed(),
    Masked(),
    NextX(),
    NextBlock(),
    NextScale(),
    NextFrequency(),
    NextDepth(),
)
# By default RandomCausal decodes row by row, as Raster does, and others ask for more steps than there are tokens.
_OPTIONS = {
    "RandomCausal": ("order=RandomOrder",),
    "RandomInstructed": ("set_sizes={class_path: CosineSizes, init_args: {num_steps: 8}}",),
    "Masked": ("set_sizes={class_path: CosineSizes, init_args: {num_steps: 6}}",),
}
_SMALL, _GRID = "6x4", (16, 16)
_CELL, _COLUMNS, _GAP, _HEAD = 10, 5, 22, 42


def main() -> None:
    """Write all pictures."""
    discover()
    for ordering in ORDERINGS:
        name = type(ordering).__name__
        options = _OPTIONS.get(name, ())
        arlab(["describe", name, *options, "--grid", _SMALL, "--out", str(FOLDER / f"{name}.png")])
    side_by_side([read_plan(ordering, _GRID) for ordering in ORDERINGS])


def side_by_side(plans: list[Plan]) -> None:
    """Maps of steps in rows of five."""
    boards = [lay_out(plan.layout, _CELL) for plan in plans]
    rows = [range(first, min(first + _COLUMNS, len(plans))) for first in range(0, len(plans), _COLUMNS)]
    tops = np.cumsum([_GAP, *(_HEAD + _GAP + max(boards[k].height for k in row) for row in rows)]).tolist()
    width = max(sum(boards[k].width + _GAP for k in row) for row in rows) + _GAP
    sheet = Sheet(width, tops[-1])
    for row, top in zip(rows, tops, strict=False):
        left = _GAP
        for k in row:
            sheet.text(left, top, plans[k].name, 16)
            steps = len(plans[k].frames)
            sheet.text(left, top + 20, f"{steps} steps", colour=GRAY)
            draw_steps(sheet, plans[k], boards[k], left, top + _HEAD)
            left += boards[k].width + _GAP
    save_png(np.asarray(sheet.image), FOLDER / "all.png")


if __name__ == "__main__":
    main()
