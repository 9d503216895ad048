"""A plan as an animation: one frame per decoding step, with what is known, fed and predicted.

Letters: H and W sides of a picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from arlab.drawing.board import Board, lay_out
from arlab.drawing.colours import FAINT, GRAY, WHITE, of_step
from arlab.drawing.marks import Sheet, text_width
from arlab.drawing.plan import KINDS, Plan
from arlab.drawing.plan_picture import LINE, MARGIN, draw_prediction
from arlab.images import Picture

_MOST_FRAMES = 256
_MOST_CELLS = 2**18
_COLOURS = 64
_TITLE = 17
_HEAD = 74
_LEGEND = "gray: known; coloured: predicted now; sign in a corner: a slot fed there"
_SECONDS, _SLOWEST, _FASTEST, _HOLD = 8.0, 0.8, 0.06, 1.5


def shown_steps(plan: Plan) -> range:
    """The steps that get a frame: all, or evenly spaced ones where there are many, the last among them."""
    most = min(_MOST_FRAMES, max(1, _MOST_CELLS // plan.layout.num_tokens))
    every = -(-len(plan.frames) // most)
    return range((len(plan.frames) - 1) % every, len(plan.frames), every)


def plan_frames(plan: Plan) -> Iterator[Picture]:
    """A picture for each of ``shown_steps``, (H, W, 3) uint8."""
    steps = shown_steps(plan)
    board, step_N = lay_out(plan.layout), plan.step_N
    widest = max(text_width(plan.headline, _TITLE), *(text_width(_told(plan, step)) for step in steps))
    width = max(board.width, widest, text_width(_LEGEND)) + 2 * MARGIN
    return (_picture(plan, board, step_N, step, width) for step in steps)


def save_film(frames: Iterable[Picture], path: Path) -> None:
    """Write frames as a GIF file that begins anew when it is over."""
    first, *rest = [Image.fromarray(frame).quantize(_COLOURS) for frame in frames]
    each = round(1000 * min(_SLOWEST, max(_FASTEST, _SECONDS / (1 + len(rest)))))
    durations = [each] * len(rest) + [round(1000 * _HOLD)]
    first.save(path, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0)


def _picture(plan: Plan, board: Board, step_N: list[int], step: int, width: int) -> Picture:
    frame = plan.frames[step]
    sheet = Sheet(width, _HEAD + board.height + MARGIN)
    sheet.text(MARGIN, MARGIN - 6, plan.headline, _TITLE)
    for number, line in enumerate((_told(plan, step), _LEGEND)):
        sheet.text(MARGIN, MARGIN + _TITLE + LINE * number, line, colour=GRAY)
    sheet.labels(board, MARGIN, _HEAD)
    predicted = set(frame.tokens)
    for token, when in enumerate(step_N):
        if token in predicted:
            sheet.cell(board, MARGIN, _HEAD, token, of_step(step, len(plan.frames) - 1), plan.number(step))
        else:
            sheet.cell(board, MARGIN, _HEAD, token, FAINT if 0 <= when < step else WHITE)
    for prediction in frame.predictions:
        if prediction.slot.at not in (-1, prediction.token):
            draw_prediction(sheet, plan, prediction, board, MARGIN, _HEAD)
    for slot in frame.fed:
        if slot.at >= 0:
            _, _, right, bottom = board.box(slot.at)
            inset = board.cell / 5
            sheet.sign((MARGIN + right - inset, _HEAD + bottom - inset), slot.kind, max(1.5, board.cell / 8))
    return np.asarray(sheet.image)


def _told(plan: Plan, step: int) -> str:
    frame = plan.frames[step]
    counts = Counter(slot.kind for slot in frame.fed)
    fed = ", ".join(f"{count} x {KINDS[kind]}" for kind, count in sorted(counts.items())) or "nothing"
    return f"step {step} (last: {len(plan.frames) - 1}): feeds {fed}; predicts {len(frame.tokens)}"
