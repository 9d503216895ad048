"""One run of a comparison as a process of its own: started, told to stop, and what it said last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

_TAIL = 4096


class Process(Protocol):
    """What is asked of a process."""

    def status(self) -> int | None:
        """The exit status; None while it runs."""

    def stop(self, number: int) -> None:
        """Send it a signal."""

    def error(self) -> str:
        """The last line of its error stream."""


class Child:
    """``arlab`` with these words as a child, in a session of its own, so that it gets signals from here only.

    A terminal sends Ctrl-C to all processes of its foreground; a child that got it from there and from here would take
    the second for the wish to end without saving.

    Args:
        words: the command line behind ``arlab``.
        log: the file that what it writes is added to.
        shown: whether its output goes to this process's as well, as it is; then only errors go to the log.
        environment: what is set for it beside this process's.
    """

    def __init__(self, words: Sequence[str], *, log: Path, shown: bool, environment: Mapping[str, str]) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._log = log, log.open("ab")
        self._last = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "arlab.cli.compare_child", *words],
            stdin=subprocess.DEVNULL,
            stdout=None if shown else self._log,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            start_new_session=True,
        )
        assert self._process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr, shown), daemon=True)
        self._reader.start()

    def _read(self, errors: IO[bytes], shown: bool) -> None:
        for line in errors:
            self._last = line.strip() or self._last
            self._log.write(line)
            self._log.flush()
            if shown:
                sys.stderr.write(line.decode(errors="replace"))
                sys.stderr.flush()

    def status(self) -> int | None:
        status = self._process.poll()
        if status is not None and not self._log.closed:
            self._reader.join()
            self._log.close()
            if self._path.stat().st_size == 0:
                self._path.unlink()
        return status

    def stop(self, number: int) -> None:
        self._process.send_signal(number)

    def error(self) -> str:
        said = self._last.decode(errors="replace").removeprefix("arlab: error: ")
        status = self._process.returncode
        if status is not None and status < 0:
            return f"ended by {signal.Signals(-status).name}"
        return said or f"ended with exit status {status}"


def last_line(log: Path) -> str:
    """What a log ends with."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
