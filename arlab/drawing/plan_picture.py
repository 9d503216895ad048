"""A plan as a picture: the map of steps, which slot predicts what, and who sees whom.

Letters: S slots of the training pass, H and W sides of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from arlab.drawing.board import Board, lay_out
from arlab.drawing.colours import BLACK, GRAY, WHITE, Colour, blend, of_kind, of_step, of_way
from arlab.drawing.marks import TEXT, Sheet, text_width
from arlab.drawing.plan import KINDS, Fed, Plan, Prediction
from arlab.images import Picture
from arlab.orderings.step import Kind

MARGIN = 18
LINE = 19
_TITLE = 19
_STRIP = 8
_TABLE, _LARGEST_ROW, _LEAST_LINED, _MOST_ROWS = 520, 12, 6, 1024
_PALE = 0.75
_HEAD = 44
_SIGNS = 30
_LEAST_WIDTH, _TOLD_WIDTH = 240, 350


@dataclass(frozen=True)
class _Entry:
    """A line of the legend: an arrow of a way, or the sign of a slot."""

    text: str
    way: int | None = None
    slot: Fed | None = None


def plan_picture(plan: Plan) -> Picture:
    """Title, map of steps, predictions and visibility side by side, (H, W, 3) uint8."""
    board, table = lay_out(plan.layout), _table(plan)
    legend, carried = list(_legend(plan)), list(_carried(plan))
    gap = 2 * MARGIN
    widest = max((_SIGNS + text_width(entry.text) for entry in legend), default=0)
    widths = [max(board.width, _LEAST_WIDTH), max(board.width, _LEAST_WIDTH, widest), max(table.width, _TOLD_WIDTH)]
    lines = [line for fact in plan.facts for line in _wrapped(fact, sum(widths))]
    lefts = [MARGIN, MARGIN + widths[0] + gap, MARGIN + widths[0] + widths[1] + 2 * gap]
    top = MARGIN + _TITLE + 10 + LINE * len(lines) + 10
    below = top + _HEAD + 8 + max(board.height + LINE * len(legend), table.height + LINE * len(carried))
    sheet = Sheet(lefts[2] + widths[2] + MARGIN, below + MARGIN)

    sheet.text(MARGIN, MARGIN - 4, plan.headline, _TITLE)
    for number, line in enumerate(lines):
        sheet.text(MARGIN, MARGIN + _TITLE + 10 + LINE * number, line, colour=GRAY)
    _heading(sheet, lefts[0], top, "steps", "the step that predicts each token")
    draw_steps(sheet, plan, board, lefts[0], top + _HEAD)
    _heading(sheet, lefts[1], top, "predictions", "from the slot's place to its token")
    _draw_predictions(sheet, plan, board, lefts[1], top + _HEAD)
    _draw_legend(sheet, legend, lefts[1], top + _HEAD + board.height + 8)
    every = _every(plan)
    told = f"row: query, column: key, in the colour of its step{f'; 1 in {every}' if every > 1 else ''}"
    _heading(sheet, lefts[2], top, f"visibility of the {len(plan.rows)} slots in training", told)
    sheet.image.paste(table, (lefts[2], top + _HEAD))
    _draw_legend(sheet, carried, lefts[2], top + _HEAD + table.height + 8)
    return np.asarray(sheet.image)


def draw_steps(sheet: Sheet, plan: Plan, board: Board, left: int, top: int) -> None:
    """Each token's cell, coloured and numbered by the step that predicts it; never: white."""
    sheet.labels(board, left, top)
    for token, step in enumerate(plan.step_N):
        if step < 0:
            sheet.cell(board, left, top, token, WHITE)
        else:
            sheet.cell(board, left, top, token, of_step(step, len(plan.frames) - 1), plan.number(step))


def draw_prediction(sheet: Sheet, plan: Plan, prediction: Prediction, board: Board, left: int, top: int) -> None:
    """An arrow from the slot's place to the token; the slot's sign where it stands there itself, or nowhere.

    From the same place in another frame: a short arrow out of the cell's corner, as if from behind.
    """
    across, down = board.centre(prediction.token)
    end = left + across, top + down
    if prediction.slot.at in (-1, prediction.token):
        sheet.sign(end, prediction.slot.kind, max(2.0, board.cell / 4), hollow=prediction.slot.at == -1)
        return
    across, down = board.centre(prediction.slot.at)
    start = left + across, top + down
    if plan.from_another_frame(prediction):
        start = end[0] - 0.45 * board.cell, end[1] - 0.45 * board.cell
    # Not from middle to middle, so that arrows that follow each other stay apart.
    length = math.dist(start, end)
    apart = [min(share * board.cell / max(1.0, length), share) for share in (0.15, 0.1)]
    tail, tip = (
        tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)) for share in (apart[0], 1 - apart[1])
    )
    head, width = max(2.0, min(7.0, board.cell / 4)), 2 if board.cell >= 12 else 1
    sheet.arrow((tail[0], tail[1]), (tip[0], tip[1]), of_way(prediction.way), head, width)


def _draw_predictions(sheet: Sheet, plan: Plan, board: Board, left: int, top: int) -> None:
    sheet.labels(board, left, top)
    for token, step in enumerate(plan.step_N):
        sheet.cell(board, left, top, token, _pale(of_step(step, len(plan.frames) - 1)) if step >= 0 else WHITE)
    for frame in plan.frames:
        for prediction in frame.predictions:
            draw_prediction(sheet, plan, prediction, board, left, top)


def _pale(colour: Colour) -> Colour:
    return blend(colour, WHITE, _PALE)


def _heading(sheet: Sheet, left: int, top: int, title: str, told: str) -> None:
    sheet.text(left, top, title, TEXT + 2, BLACK)
    sheet.text(left, top + LINE, told, colour=GRAY)


# ---- legend


def _legend(plan: Plan) -> Iterator[_Entry]:
    """A line for each way with arrows, and for each kind of slot that predicts from its token's place or nowhere."""
    predictions = [prediction for frame in plan.frames for prediction in frame.predictions]
    moved = [p for p in predictions if p.slot.at not in (-1, p.token)]
    for way in sorted({p.way for p in moved}):
        kinds = sorted({p.slot.kind for p in moved if p.way == way})
        behind = any(plan.from_another_frame(p) for p in moved if p.way == way)
        text = f"way {way}, from a {' or '.join(KINDS[kind] for kind in kinds)}"
        yield _Entry(f"{text}{' at the same place of another frame' if behind else ''}", way=way)
    still = sorted({(p.slot.kind, p.slot.at == -1) for p in predictions if p.slot.at in (-1, p.token)})
    for kind, nowhere in still:
        text = f"{KINDS[kind]}, {'standing nowhere' if nowhere else 'on the place of its token'}"
        yield _Entry(text, slot=Fed(kind, -1 if nowhere else 0))


def _carried(plan: Plan) -> Iterator[_Entry]:
    """A line for each kind of slot in the training pass: the colours of the strip beside the table."""
    for kind in sorted(set(plan.rows.kind.tolist())):
        yield _Entry(KINDS[Kind(kind)], slot=Fed(Kind(kind), 0))


def _draw_legend(sheet: Sheet, entries: list[_Entry], left: int, top: int) -> None:
    for number, entry in enumerate(entries):
        line = top + LINE * number
        middle = line + LINE / 2
        if entry.way is not None:
            sheet.arrow((left, middle), (left + 22, middle), of_way(entry.way))
        if entry.slot is not None:
            sheet.sign((left + 11, middle), entry.slot.kind, 6.0, hollow=entry.slot.at == -1)
        sheet.text(left + _SIGNS, line + 2, entry.text)


def _wrapped(text: str, width: int) -> Iterator[str]:
    """The words of a text in lines that are no wider."""
    line = ""
    for word in text.split():
        if line and text_width(f"{line} {word}") > width:
            yield line
            line = f"    {word}"
        else:
            line = f"{line} {word}" if line else word
    yield line


# ---- visibility


def _every(plan: Plan) -> int:
    """One row in so many is shown."""
    return -(-len(plan.rows) // _MOST_ROWS)


def _table(plan: Plan) -> Image.Image:
    """Key rows that a query row sees, in the colour of their step; strips tell what rows carry and when."""
    chosen = torch.arange(0, len(plan.rows), _every(plan))
    sees_SS = plan.sees_SS[chosen][:, chosen].numpy()
    rows = plan.rows.select(chosen)
    steps = np.array([of_step(step, plan.last) for step in rows.step.tolist()], dtype=np.uint8)
    kinds = np.array([of_kind(Kind(kind)) for kind in rows.kind.tolist()], dtype=np.uint8)
    count = len(chosen)
    size = max(1, min(_LARGEST_ROW, _TABLE // count))
    colour_SS3 = np.where(sees_SS[..., None], steps[None], np.uint8(255))
    body = colour_SS3.repeat(size, axis=0).repeat(size, axis=1)
    if size >= _LEAST_LINED:
        body[::size] = body[:, ::size] = 255
    side = count * size
    sheet = np.full((side + 2 * _STRIP + 4, side + 2 * _STRIP + 4, 3), 255, dtype=np.uint8)
    first = 2 * _STRIP + 3
    sheet[first : first + side, first : first + side] = body
    for number, strip in enumerate((kinds, steps)):
        long = strip.repeat(size, axis=0)
        place = slice(number * (_STRIP + 1), number * (_STRIP + 1) + _STRIP)
        sheet[first : first + side, place] = long[:, None]
        sheet[place, first : first + side] = long[None]
    sheet[first - 1, first - 1 :] = sheet[first - 1 :, first - 1] = 150
    sheet[-1, first - 1 :] = sheet[first - 1 :, -1] = 150
    return Image.fromarray(sheet)
