"""What arlab writes into a checkpoint beside Lightning's own entries, and how a model is rebuilt from it.

A checkpoint is self-contained: ``arlab.model`` is the model's spec, and a generator's frozen tokenizer lies under
``arlab.tokenizer``, outside the model's ``state_dict``. Everything loads with ``weights_only=True``.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

import arlab
from arlab import data, features, plugins
from arlab.configurable import Configurable, from_spec, to_plain

if TYPE_CHECKING:
    from arlab.module import Module

FORMAT = 1
KEY = "arlab"
ORIGIN = "origin"
"""The entry that tells which release imported weights are."""
STARTED_FROM = "started_from"
"""The entry that tells whose weights training began with."""
# Options of a model and its parts that name files: they are read where training begins, and forgotten then.
_PATHS = ("run", "file", "tokenizer")
_M = TypeVar("_M", bound="Module")


def header(model: Configurable, data: Configurable | None) -> dict[str, object]:
    """The entry written under ``arlab``."""
    spec = model.spec()
    started_from = getattr(model, "started_from", None)
    return {
        "format": FORMAT,
        "version": arlab.__version__,
        "model": spec,
        "data": None if data is None else data.spec(),
        "facts": to_plain(getattr(model, "facts", None)),
        "plugins": plugins.record(spec),
        **({} if started_from is None else {STARTED_FROM: started_from}),
    }


def read(path: str | Path, *, mapped: bool = False) -> dict[str, Any]:
    """A checkpoint as plain data and tensors, on the CPU.

    Args:
        path: of the file.
        mapped: tensors are left in the file until they are used.

    Raises:
        ValueError: the file is missing, broken, not arlab's, from a newer format, or needs more than weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if "unsupported global" not in str(error).lower():
            raise ValueError(f"{path}: not a readable checkpoint (cut off or damaged?)") from error
        raise ValueError(f"{path}: refused, it holds more than weights and plain data") from error
    except Exception as error:
        # Bytes that are no pickle make the unpickler fail with whatever its steps raise: KeyError, IndexError, ...
        raise ValueError(f"{path}: not a readable checkpoint (cut off or damaged?)") from error
    if not (isinstance(checkpoint, dict) and isinstance(checkpoint.get(KEY), dict)):
        raise ValueError(f"{path}: not written by arlab")
    if "state_dict" not in checkpoint or not sound(checkpoint[KEY]):
        raise ValueError(f"{path}: not readable, its entry {KEY!r} is not as arlab writes it")
    if checkpoint[KEY]["format"] > FORMAT:
        raise ValueError(
            f"{path}: written in format {checkpoint[KEY]['format']} by arlab {checkpoint[KEY]['version']}, "
            f"this arlab {arlab.__version__} reads up to {FORMAT}"
        )
    _distrust_beside(path, checkpoint[KEY].get("plugins", ()))
    return checkpoint


def sound(entry: Mapping[str, Any]) -> bool:
    """Whether the entry that tells of a model has the form of those that arlab writes."""
    model, facts = entry.get("model"), entry.get("facts")
    return (
        isinstance(entry.get("format"), int)
        and isinstance(entry.get("version"), str)
        and isinstance(model, Mapping)
        and isinstance(model.get("class_path"), str)
        and isinstance(model.get("init_args"), Mapping)
        and (facts is None or isinstance(facts, Mapping))
        and all(isinstance(entry.get(key, ""), str) for key in (ORIGIN, STARTED_FROM))
        and isinstance(entry.get("plugins", ()), (list, tuple))
    )


def _distrust_beside(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """What comes with a run may come from anybody: of it only the user's own plugins are executed, none beside it."""
    beside = path.resolve().parent
    beside = beside.parent if beside.name == "checkpoints" else beside
    for record in records:
        file = Path(str(record.get("path", "")))
        if file.resolve().is_relative_to(beside):
            record["path"] = f"{plugins.FOLDER}/{file.name}"


def rebuild(
    checkpoint: Mapping[str, Any], expected: type[_M], building: AbstractContextManager[object] | None = None
) -> _M:
    """The model a checkpoint was written by, in evaluation mode; EMA weights where there are any.

    Args:
        checkpoint: as ``read`` gives it.
        expected: what it must be.
        building: inside of which its parts are made.

    Raises:
        ValueError: it is another kind of model, or its weights do not fit.
    """
    plugins.restore(checkpoint[KEY].get("plugins", ()))
    spec = checkpoint[KEY]["model"]
    if _names_files(spec):
        raise ValueError("its model names other files, which no checkpoint of arlab does; they are not opened")
    try:
        with building or nullcontext():
            model = from_spec(cast("Mapping[str, object]", spec), expected)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"its model cannot be built, it is not as arlab writes it ({error})") from error
    refuse_unfit(checkpoint, model)
    model.adopt(checkpoint)
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval()


def _names_files(node: Any) -> bool:
    """Whether a model's spec names files, somewhere in it: one is rebuilt from its checkpoint alone."""
    if isinstance(node, list):
        return any(map(_names_files, node))
    if not isinstance(node, Mapping):
        return False
    made = str(node.get("class_path"))
    # A network of a loss opens its file when it is asked for features, in training.
    if made.startswith(f"{features.__name__}."):
        return False
    options = node.get("init_args")
    if made.startswith("arlab.") and isinstance(options, Mapping):
        named = [options.get(key) for key in _PATHS]
        if made.startswith(f"{data.__name__}.") or any(each and not isinstance(each, Mapping) for each in named):
            return True
    return any(map(_names_files, node.values()))


def refuse_unfit(checkpoint: Mapping[str, Any], model: Module) -> None:
    """See that a model can take a checkpoint's weights.

    Raises:
        ValueError: weights are missing, left over or of another shape; the first is named.
    """
    saved = {name: tuple(value.shape) for name, value in checkpoint["state_dict"].items()}
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in own:
        if name not in saved:
            raise ValueError(f"its weights do not fit the model: it has no {name}")
        if saved[name] != own[name]:
            raise ValueError(f"its weights do not fit the model: {name} is {saved[name]}, the model's is {own[name]}")
    left = next((name for name in saved if name not in own), None)
    if left is not None:
        raise ValueError(f"its weights do not fit the model, which has no {left}")
