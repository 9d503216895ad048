"""Keeping other processes away from a folder (where the system has file locks)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_HELD: list[TextIO] = []


@contextlib.contextmanager
def locked(file: Path, told: str) -> Iterator[None]:
    """Hold a lock; it ends with the block, or with the process, however that ends.

    Args:
        file: stands for what is locked; it is made, with the folders above it, and stays.
        told: what is said where another process holds it.

    Raises:
        ValueError: another process does.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(told) from error
        _HELD.append(lock)
        try:
            yield
        finally:
            _HELD.remove(lock)


def _let_go() -> None:
    # Loader processes, which live on for seconds when this one is killed, must not hold its locks.
    while _HELD:
        _HELD.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
