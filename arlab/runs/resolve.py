"""Finding trained models by name and loading them.

A run lies in ``runs/<experiment>/<key>/`` with its checkpoints under ``checkpoints/``. Wherever arlab asks for a RUN
it takes a run folder, an experiment folder (its newest run), a checkpoint file or a folder written by ``arlab export``.
"""

from __future__ import annotations

import difflib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from arlab.runs.folder import RunFolder, runs_root

if TYPE_CHECKING:
    from arlab.module import Module

    M = TypeVar("M", bound=Module)

EXPORT_FILE = "arlab.json"
FIGURES_FILE = "metrics.json"
_CONFIGURATIONS = (".yaml", ".yml")


def resolve(run: str | Path) -> Path:
    """The checkpoint file, or the export folder, that a RUN means.

    Raises:
        ValueError: there is none; the message names what was looked for and what is near.
    """
    path = Path(run)
    if path.is_file():
        if path.suffix in _CONFIGURATIONS:
            raise ValueError(f"{run}: is a configuration, not a run; train it first: arlab fit --config {run}")
        return path
    if (path / EXPORT_FILE).is_file():
        return path
    if path.is_dir():
        folder = RunFolder(path)
        checkpoint = folder.evaluated or _newest(path)
        if checkpoint is not None:
            return checkpoint
        if folder.last.parent.is_dir() or folder.config.is_file():
            raise ValueError(f"{run}: this run has no checkpoint yet")
        if any(RunFolder(inside).config.is_file() for inside in path.iterdir()):
            raise ValueError(f"{run}: no run of this experiment has a checkpoint yet")
    raise ValueError(f"{run}: no run, experiment, checkpoint or export here. {_suggestion(path)}")


def read(run: str | Path, *, mapped: bool = False) -> dict[str, Any]:
    """What a RUN holds as plain data and tensors, on the CPU.

    Args:
        run: its name.
        mapped: a checkpoint's tensors are left in the file until they are used.

    Raises:
        ValueError: there is no such run, or it cannot be read.
    """
    from arlab.runs import checkpoint, export

    path = resolve(run)
    return export.read(path) if path.is_dir() else checkpoint.read(path, mapped=mapped)


def read_tokenizer(run: str | Path) -> dict[str, Any]:
    """What a RUN holds of a tokenizer, its own or a generator's, in the form of a tokenizer's checkpoint.

    The weights of a generator are not brought into memory.

    Raises:
        ValueError: there is no such run, or it cannot be read.
    """
    from arlab.runs import checkpoint, export

    path = resolve(run)
    held = export.read_tokenizer(path) if path.is_dir() else checkpoint.read(path, mapped=True)
    entry = held[checkpoint.KEY]
    if "tokenizer" not in entry:
        return held
    model = entry["model"]["init_args"]["tokenizer"]
    return {"state_dict": entry["tokenizer"]["state_dict"], checkpoint.KEY: {**entry, "model": model}}


def load_model(run: str | Path, expected: type[M]) -> M:
    """The model of a RUN, in evaluation mode, with its averaged weights where it has any.

    Raises:
        ValueError: there is no such run, it cannot be read, or it is another kind of model.
    """
    from arlab.runs.checkpoint import KEY
    from arlab.uninitialised import uninitialised

    held = read(run)
    # A plugin may work something out of what it has drawn, and not save it.
    return _rebuilt(run, held, expected, nullcontext() if held[KEY].get("plugins") else uninitialised())


def load_tokenizer(run: str | Path, expected: type[M]) -> M:
    """The tokenizer of a RUN, of its own or of a generator's, in evaluation mode.

    Args:
        run: its name.
        expected: what it must be.

    Raises:
        ValueError: there is no such run, it cannot be read, or it is another kind of model.
    """
    return _rebuilt(run, read_tokenizer(run), expected, nullcontext())


def _rebuilt(run: str | Path, held: dict[str, Any], expected: type[M], building: AbstractContextManager[object]) -> M:
    from arlab.module import Module
    from arlab.runs.checkpoint import rebuild

    try:
        model = rebuild(held, Module, building)
    except ValueError as error:
        raise ValueError(f"{run}: {error}") from error
    if not isinstance(model, expected):
        raise ValueError(f"{run}: is a {type(model).__name__}, expected a {expected.__name__}")
    return model


def figures_beside(path: Path) -> Path:
    """Where the figures of a checkpoint or an export lie: in the run's folder, beside any other."""
    if path.parent.name == "checkpoints":
        return path.parent.parent / FIGURES_FILE
    # An export is as it was written, so nothing is added to it.
    name = path.resolve().name if path.is_dir() else path.stem
    return path.resolve().with_name(f"{name}.{FIGURES_FILE}")


def _newest(experiment: Path) -> Path | None:
    """The checkpoint of the run in this folder that was saved last."""
    runs = [run for run in map(RunFolder, experiment.iterdir()) if run.evaluated is not None]
    newest = max(runs, key=_saved_at, default=None)
    return None if newest is None else newest.evaluated


def _saved_at(run: RunFolder) -> float:
    return max(path.stat().st_mtime for path in (run.last, run.best) if path.is_file())


def _suggestion(path: Path) -> str:
    """What can be named instead."""
    root = runs_root()
    runs = [path.parents[1] for path in root.glob("**/checkpoints/last.ckpt")]
    experiments = sorted({run.parent.as_posix() for run in runs})
    if not experiments:
        return f"Nothing has been trained under {root}/ yet"
    names = experiments + sorted(run.as_posix() for run in runs)
    inside = [name for name in experiments if Path(name).is_relative_to(path)]
    near = inside or difflib.get_close_matches(path.as_posix(), names, n=3, cutoff=0.6)
    # 'fashion/raster' is as near to 'runs/fashion/raster' as can be, whatever the letters count.
    near = [name for name in names if name == (root / path).as_posix()] or near
    if near:
        return f"Did you mean {' or '.join(near[:3])}?"
    shown = ", ".join(experiments[:8]) + (", ..." if len(experiments) > 8 else "")
    return f"There are: {shown}"
