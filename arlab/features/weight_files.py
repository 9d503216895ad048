"""Files of weights that the user has: read, never executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


def read_weights(file: str, key: str, what: str) -> Mapping[str, Tensor]:
    """The tensors of a file by name, on the CPU; pickled code in it is refused.

    Args:
        file: .safetensors, or what ``torch.save`` wrote.
        key: the option that names it, for what is told.
        what: what it should hold, for what is told.

    Raises:
        ValueError: there is no such file, it is not readable, or holds no tensors by name.
    """
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"{key}: no such file: {file}; expected {what}, .pth or .safetensors")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        held: Mapping[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of bytes that are no pickle the unpickler raises anything
        raise ValueError(f"{key}: {file} is not readable as {what}") from error
    if not isinstance(held, Mapping):
        raise ValueError(f"{key}: {file} holds no weights by name; expected {what}")
    return held


def fit_weights(network: torch.nn.Module, given: Mapping[str, Tensor], where: str) -> None:
    """Copy all weights of a network from a file; the file holds nothing else.

    Args:
        network: takes them.
        given: what the file holds.
        where: which file it is, for what is told.

    Raises:
        ValueError: a weight is missing, has another shape, or is not one of the network's.
    """
    name = type(network).__name__
    try:
        missing, strange = network.load_state_dict(given, strict=False)
    except Exception as error:  # other shapes, and whatever hooks of the network refuse
        lines = str(error).splitlines() or [""]
        raise ValueError(f"{where} does not fit {name}: {lines[min(1, len(lines) - 1)].strip()}") from error
    if missing:
        raise ValueError(f"{where} has no {missing[0]}")
    if strange:
        raise ValueError(f"{where} has {strange[0]!r}, which is no weight of {name}")
