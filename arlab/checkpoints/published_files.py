"""Reading published files: tensors and plain data, nothing that could run.

A file is safetensors or PyTorch's own. Of pickled objects only ``argparse.Namespace``, which many releases keep their
options in, is let in beside tensors and plain data; a file that asks for anything else is refused.
"""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# Of an option: letters of a text, or numbers.
_LONGEST = 1000
# How PyTorch names what a pickle asks for.
_ASKED = re.compile(r"GLOBAL (\S+)")


def read_published(path: Path) -> dict[str, object]:
    """What a published file holds, on the CPU.

    Raises:
        ValueError: there is no such file, it cannot be read, or it holds more than tensors and plain data.
    """
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; name the file of weights in it")
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    held = _safetensors(path) if path.suffix == ".safetensors" else _torch(path)
    if not isinstance(held, dict) or not all(isinstance(name, str) for name in held):
        raise ValueError(f"{path}: holds a {type(held).__name__}, expected tensors by name")
    return held


def tensors_in(held: Mapping[str, object], entries: Sequence[str]) -> tuple[str, dict[str, Tensor]]:
    """The first of these entries that holds tensors, '' is the whole, and its tensors.

    Entries may lie in each other, as 'model.module'; what is no tensor is left out. No tensor: an empty table.
    """
    for entry in entries:
        found: object = held
        for name in entry.split(".") if entry else ():
            found = found.get(name) if isinstance(found, Mapping) else None
        if isinstance(found, Mapping):
            tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
            if tensors:
                return entry, _without(tensors, "module.")
    return "", {}


def args_in(held: Mapping[str, object]) -> dict[str, object]:
    """The options that a training script was called with, where it wrote them into the file as 'args'.

    Of those that could be options: numbers, short texts, and short lists of numbers.
    """
    args = held.get("args")
    if isinstance(args, argparse.Namespace):
        args = vars(args)
    if not isinstance(args, Mapping):
        return {}
    return {str(key): value for key, value in args.items() if _plain(value)}


def _plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return len(value) <= _LONGEST and all(type(item) in (int, float) for item in value)
    return (
        value is None
        or type(value) in (bool, float)
        or (type(value) is int and abs(value) < 2**63)
        or (type(value) is str and len(value) <= _LONGEST)
    )


def _without(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Names without what distributed training put in front of all of them."""
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file (cut off or damaged?)") from error


def _torch(path: Path) -> object:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            # Of other versions of pickle it warns, and then refuses what it cannot read.
            warnings.simplefilter("ignore")
            # Of gigabytes of an optimizer's state beside the weights nothing is read.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if "unsupported global" not in str(error).lower():
            raise ValueError(f"{path}: not a readable file of weights (cut off or damaged?)") from error
        asked = _ASKED.search(str(error))
        what = f" ({asked[1]})" if asked else ""
        raise ValueError(
            f"{path}: refused, it holds more than weights, plain data and argparse.Namespace{what}"
        ) from error
    except Exception as error:
        # Bytes that are no pickle make the unpickler fail with whatever its steps raise: KeyError, IndexError, ...
        raise ValueError(f"{path}: not a readable file of weights (cut off or damaged?)") from error
