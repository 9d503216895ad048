"""What a run logged over its training, read back from its TensorBoard event files."""

from __future__ import annotations

import logging
import math
import sys
import types
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from arlab.compare.record import Curve
from arlab.runs.folder import RunFolder

EVENT_FILES = "events.out.tfevents.*"
_LOGGED = ("train/", "val/")


@dataclass(frozen=True)
class _Point:
    """One value of one curve.

    Attributes:
        name: of the curve.
        step: optimiser steps taken by then.
        seconds: since the file was begun.
        value: finite.
    """

    name: str
    step: int
    seconds: float
    value: float


def read_curves(run: RunFolder) -> tuple[Curve, ...]:
    """The curves of a run, by name; none where its logs are missing or damaged.

    A run that was interrupted has an event file for each time it was trained. It went on from a checkpoint, so of the
    steps that two files tell of, the later file's values are those of the run that came to its end. A file's seconds
    are counted from where the one before was left: from its last value that is kept. The few steps from there to the
    checkpoint are not counted, nor is the time a process was killed before it had written what it logged.

    The Trainer logs the index of a step, from 0: what is logged at 299 belongs to 300 optimiser steps, and is told so
    here. Values that are not finite are left out.
    """
    files = (_read(path) for path in sorted((run.path / "logs").glob(EVENT_FILES)))
    files_in_order = [points for _, points in sorted((file for file in files if file is not None), key=lambda f: f[0])]
    kept: list[_Point] = []
    for number, points in enumerate(files_in_order):
        end = min((later[0].step for later in files_in_order[number + 1 :]), default=math.inf)
        before = kept[-1].seconds if kept else 0.0
        kept += [
            _Point(point.name, point.step, before + point.seconds, point.value) for point in points if point.step < end
        ]
    return tuple(_curve(name, kept) for name in sorted({point.name for point in kept}))


@contextmanager
def quiet_tensorboard() -> Iterator[None]:
    """TensorBoard without TensorFlow, which it would import where it is installed, and without its own log lines.

    TensorFlow takes seconds to import and writes to the terminal; nothing here needs it. ``tensorboard.compat.notf``
    is the name under which TensorBoard looks for the wish to do without.
    """
    name, logger = "tensorboard.compat.notf", logging.getLogger("tensorboard")
    level, there = logger.level, name in sys.modules
    logger.setLevel(logging.CRITICAL)
    sys.modules.setdefault(name, types.ModuleType(name))
    try:
        yield
    finally:
        logger.setLevel(level)
        if not there:
            del sys.modules[name]


def _read(path: Path) -> tuple[float, list[_Point]] | None:
    """When an event file was begun, and its points by step; None where it holds none that can be read.

    A file that is cut off gives what lies before the cut.
    """
    with quiet_tensorboard():
        from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
            EventAccumulator,
        )

        # All scalars, and of everything else one: pictures are most of a file.
        held = EventAccumulator(str(path), size_guidance={"scalars": 0, "images": 1, "tensors": 1, "histograms": 1})
        try:
            held.Reload()
            begun = held.FirstEventTimestamp()
        except Exception:
            # Bytes that are no events make the reader fail with whatever its steps raise.
            return None
        points = [
            _Point(name, event.step + 1, max(0.0, event.wall_time - begun), event.value)
            for name in held.Tags()["scalars"]
            if name.startswith(_LOGGED)
            for event in held.Scalars(name)
            if math.isfinite(event.value)
        ]
    return (begun, sorted(points, key=lambda point: (point.step, point.seconds))) if points else None


def _curve(name: str, points: Sequence[_Point]) -> Curve:
    """The points of this name; of several at one step the last."""
    own = list({point.step: point for point in points if point.name == name}.values())
    return Curve(
        name=name,
        steps=tuple(point.step for point in own),
        seconds=tuple(point.seconds for point in own),
        values=tuple(point.value for point in own),
    )
