"""A user's mistake is told in one line and ends with exit status 2; everything else keeps its traceback."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar

from arlab.runs.interrupted import Interrupted

USAGE = 2
_DEBUG = ContextVar("debug", default=os.environ.get("ARLAB_DEBUG", "") not in ("", "0"))
_EXPECTED = (ValueError, OSError, argparse.ArgumentError)
# torch.OutOfMemoryError is a RuntimeError, and so is what the CPU's allocator raises, which has no class of its own.
_OUT_OF_MEMORY = re.compile(
    r"out of memory|DefaultCPUAllocator|not enough memory|Storage size calculation overflowed|bad_alloc"
)
_ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+ \w+)")
_WORKER = re.compile(r"Caught (\w+) in DataLoader worker process")
_REBUILT = ("ValueError", "OSError", "FileNotFoundError", "PermissionError")


def guarded(function: Callable[[], int], *, debug: bool = False) -> int:
    """Run a command; the exit status.

    Errors a user can cause (``ValueError``, missing and unreadable files, too little memory, the same in a worker of a
    data loader) become one line on stderr and status 2; with ``debug``, or ``ARLAB_DEBUG=1`` in the environment, they
    keep their traceback, and so they do in guarded calls inside this one. Ctrl-C gives 130, SIGTERM 143.
    """
    token = _DEBUG.set(debug or _DEBUG.get())
    try:
        return function()
    except Interrupted as error:
        print(f"arlab: {error}, saved; the same command goes on from there", file=sys.stderr)
        return 128 + error.signum
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except SystemExit as end:
        # The Trainer turns Ctrl-C into exit(1), and a SIGTERM that comes before its first step into one without a code.
        if isinstance(end.__context__, KeyboardInterrupt):
            return 128 + signal.SIGINT
        if type(end).__name__ == "SIGTERMException":
            return 128 + signal.SIGTERM
        raise
    except Exception as error:
        told = _told(error)
        if told is None or _DEBUG.get():
            raise
        print(f"arlab: error: {told}", file=sys.stderr)
        return USAGE
    finally:
        _DEBUG.reset(token)


def take_debug(argv: Sequence[str]) -> tuple[list[str], bool]:
    """The command line without ``--debug``, and whether it was there."""
    rest = [word for word in argv if word != "--debug"]
    return rest, len(rest) < len(argv)


def suggestion(word: str, known: Iterable[str]) -> str:
    """' Did you mean ...? Known: ...' for a word that is none of the known ones."""
    names = sorted(set(known))
    lower = {name.lower(): name for name in names}
    near = [lower[match] for match in difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.5)]
    meant = f" Did you mean '{near[0]}'?" if near else ""
    return meant if near and len(names) > 30 else f"{meant} Known: {', '.join(names) or 'none'}."


def _told(error: Exception) -> str | None:
    """The one line for an error a user can cause; None for others."""
    if isinstance(error, _EXPECTED):
        return _of_worker(error) or _one_line(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error))):
        asked = _ASKED.search(str(error))
        size = f" ({asked[1]} asked for at once)" if asked else ""
        return f"not enough memory{size}; make the batch (data.batch_size) or the model (its widths and depths) smaller"
    return (_of_worker(error) if isinstance(error, RuntimeError) else None) or _of_plugin(error)


def _of_plugin(error: Exception) -> str | None:
    """What went wrong in a plugin's own code, and where."""
    registry = sys.modules.get("arlab.plugins.registry")
    files = set() if registry is None else set(registry.paths().values())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    if not frames:
        return None
    last = frames[-1]
    return f"{last.filename}, line {last.lineno}, in {last.name}: {type(error).__name__}: {_one_line(error)}"


def _of_worker(error: Exception) -> str | None:
    """What an expected error in a data loader's worker said, out of the traceback that PyTorch makes of it."""
    found = _WORKER.match(str(error))
    # One that PyTorch cannot build anew arrives as a RuntimeError.
    if found is None or not (isinstance(error, _EXPECTED) or found[1] in _REBUILT):
        return None
    said = re.split(rf"^(?:\w+\.)*{found[1]}: ", str(error), flags=re.MULTILINE)
    return " ".join(said[-1].split()) if len(said) > 1 else None


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
