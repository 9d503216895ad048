"""A bar for the light commands that take long, on the error stream of a terminal."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Progress:
    """A bar for each thing that is being done, with its speed; nothing where nobody watches.

    Args:
        unit: what is counted, in the plural.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._done: dict[str, int] = {}
        self._began: dict[str, tuple[float, int]] = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *failure: object) -> None:
        self._bars.stop()

    def step(self, what: str, total: int) -> None:
        """One more of them is done."""
        self.advance(what, self._done.get(what, 0) + 1, total)

    def advance(self, what: str, done: int, total: int) -> None:
        """So many of them are done.

        Args:
            what: is being done.
            done: how many.
            total: of how many.
        """
        if what not in self._tasks:
            # Not before: reading images shows a bar of its own.
            self._bars.start()
            self._tasks[what] = self._bars.add_task(what, total=total, speed="")
            self._began[what] = (time.perf_counter(), done)
        self._done[what] = done
        began, before = self._began[what]
        speed = (done - before) / max(1e-9, time.perf_counter() - began)
        self._bars.update(self._tasks[what], completed=done, total=total, speed=f"{speed:.3g} {self.unit}/s")
