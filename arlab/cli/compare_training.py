"""The trainings of a comparison: each as ``arlab fit`` of its own, several at a time if asked, each tokenizer once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from arlab.cli.compare_process import Child, Process, last_line
from arlab.cli.summary import say
from arlab.runs.folder import RunFolder
from arlab.runs.interrupted import Interrupted

_LOOK_EVERY = 0.2


@dataclass(frozen=True)
class Job:
    """A run to train.

    Attributes:
        name: what it is called: the row's name and the seed.
        words: what ``arlab`` is called with.
        log: the file for what it says.
        tokenizer: the run of its tokenizer, which it trains first unless that is finished.
    """

    name: str
    words: tuple[str, ...]
    log: Path
    tokenizer: RunFolder | None

    @property
    def trains_tokenizer(self) -> bool:
        """Whether its tokenizer is still to be trained."""
        return self.tokenizer is not None and not self.tokenizer.finished


@dataclass(frozen=True)
class Failure:
    """A run that came to no end.

    Attributes:
        job: which.
        error: the last thing it said.
    """

    job: Job
    error: str


def start(job: Job, at_once: int) -> Process:
    """Begin a training."""
    shared = at_once > 1 and "OMP_NUM_THREADS" not in os.environ
    threads = {"OMP_NUM_THREADS": str(max(1, _cores() // at_once))} if shared else {}
    return Child(job.words, log=job.log, shown=at_once == 1, environment=threads)


def train(jobs: Sequence[Job], at_once: int, console: Console) -> list[Failure]:
    """Train all, and tell of those that failed.

    A job whose tokenizer another one is training waits for it. Where a tokenizer fails, so do those that wait for it.

    Args:
        jobs: what is to be trained.
        at_once: how many processes there may be.
        console: where to tell of it.

    Raises:
        Interrupted: by a signal, once all children have saved and ended.
    """
    waiting, failed = list(jobs), list[Failure]()
    running: dict[Job, Process] = {}
    with _noted() as received, _shown(running, at_once, console) as refresh:
        told = dict.fromkeys(jobs, 0)
        while running or (waiting and not received):
            for job in [] if received else _ready(waiting, running, at_once):
                waiting.remove(job)
                log = "" if at_once == 1 else f" ({job.log})"
                say(console, f"training {len(jobs) - len(waiting)} of {len(jobs)}: {job.name}{log}")
                running[job] = start(job, at_once)
            for job, process in list(running.items()):
                for number in received[told[job] :]:
                    process.stop(number)
                    told[job] += 1
                status = process.status()
                if status is None:
                    continue
                del running[job]
                if status != 0 and not received:
                    failed.append(Failure(job, process.error()))
                    say(console, f"failed: {job.name}: {failed[-1].error}")
                    failed += _without_tokenizer(job, waiting, failed[-1].error)
            refresh()
            if running:
                time.sleep(_LOOK_EVERY)
    if received:
        raise Interrupted(received[0])
    return failed


def _ready(waiting: Sequence[Job], running: Mapping[Job, Process], at_once: int) -> list[Job]:
    """Those that can begin now."""
    busy = {job.tokenizer for job in running if job.trains_tokenizer}
    ready: list[Job] = []
    for job in waiting:
        if len(running) + len(ready) < at_once and job.tokenizer not in busy:
            ready.append(job)
            busy |= {job.tokenizer} if job.trains_tokenizer else set()
    return ready


def _without_tokenizer(job: Job, waiting: list[Job], error: str) -> list[Failure]:
    """Those that can not be trained, since this one has failed before its tokenizer was finished."""
    lost = [other for other in waiting if job.trains_tokenizer and other.tokenizer == job.tokenizer]
    for other in lost:
        waiting.remove(other)
    return [Failure(other, error) for other in lost]


def _cores() -> int:
    """Those this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _noted() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM, as they come; each is for all children."""
    received: list[int] = []
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


@contextlib.contextmanager
def _shown(running: Mapping[Job, Process], at_once: int, console: Console) -> Iterator[Callable[[], None]]:
    """A line for each of several runs, with what it said last; a single one shows itself."""
    if at_once == 1 or not console.is_terminal:
        yield lambda: None
        return
    with Live(console=console, refresh_per_second=2, transient=True) as live:

        def refresh() -> None:
            table = Table.grid(padding=(0, 2))
            for column in range(2):
                table.add_column(no_wrap=True, overflow="ellipsis", style="dim" if column else None)
            for job in running:
                table.add_row(Text(job.name), Text(last_line(job.log)))
            live.update(table)

        yield refresh
