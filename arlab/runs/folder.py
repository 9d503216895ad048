"""The folder of a run: where its configuration, checkpoints, pictures and figures lie."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arlab.runs.files import LEFTOVERS, remove, write_text
from arlab.runs.lock import locked

RUNS = "runs"


def runs_root(named: str | None = None) -> Path:
    """Where runs lie: as named, else ``ARLAB_RUNS`` in the environment, else ``runs``."""
    return Path(named or os.environ.get("ARLAB_RUNS") or RUNS)


@dataclass(frozen=True)
class RunFolder:
    """``<root>/<experiment>/<key>/``: config.yaml, key.json, checkpoints/, samples/, logs/; summary.json when finished.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def key(self) -> str:
        """Which settings it was made with."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The whole configuration, defaults included; ``--config`` takes it."""
        return self.path / "config.yaml"

    @property
    def key_file(self) -> Path:
        """What its key was made of."""
        return self.path / "key.json"

    @property
    def last(self) -> Path:
        """The checkpoint an interrupted run goes on from."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation figure (the loss, where nothing else is named)."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def summary(self) -> Path:
        """Figures, written last: where it exists, the run is finished."""
        return self.path / "summary.json"

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.summary.is_file()

    @property
    def evaluated(self) -> Path | None:
        """The checkpoint to evaluate and sample from: the best, else the last; None where there is none."""
        return next((path for path in (self.best, self.last) if path.is_file()), None)

    @property
    def newest_sample(self) -> Path | None:
        """The picture of the latest step."""
        return max((self.path / "samples").glob("step-*.png"), default=None)

    def holds(self, path: Path) -> bool:
        """Whether a file lies in it."""
        return self.path.resolve() in path.resolve().parents

    def read_summary(self) -> dict[str, Any]:
        """The figures of a finished run.

        Raises:
            ValueError: the file is damaged.
        """
        try:
            summary: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.summary}: not readable; delete it and run the same command again") from error
        return summary

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the figures; from then on the run is finished."""
        write_text(self.summary, json.dumps(summary, indent=2) + "\n")

    def sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for leftover in list(self.path.glob(LEFTOVERS)):
            remove(leftover)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training the same run (where the system has file locks).

        Raises:
            ValueError: another process is at it.
        """
        with locked(self.path / ".lock", f"{self.path}: another process is training this run"):
            yield
