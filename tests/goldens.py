"""Numbers recorded from the published implementations.

They lie under ``tests/data/goldens``; those too large for the repository in the folder that the environment variable
``ARLAB_GOLDENS`` names, or anywhere below it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "data" / "goldens"


class MissingGoldenError(Exception):
    """A recording that is not part of the repository and not to be found elsewhere."""


def golden(name: str) -> dict[str, Tensor]:
    """The tensors of ``<name>.safetensors``; half-precision weights stand for exactly these float32 values.

    Raises:
        MissingGoldenError: there is no such file.
    """
    tensors = load_file(_found(f"{name}.safetensors"))
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def golden_table(name: str) -> Any:
    """What ``<name>.json`` holds.

    Raises:
        MissingGoldenError: there is no such file.
    """
    return json.loads(_found(f"{name}.json").read_text())


def _found(file: str) -> Path:
    if (FOLDER / file).is_file():
        return FOLDER / file
    elsewhere = os.environ.get("ARLAB_GOLDENS")
    if not elsewhere:
        raise MissingGoldenError(f"{file} is not in the repository; name its folder in ARLAB_GOLDENS")
    if found := next(Path(elsewhere).rglob(file), None):
        return found
    raise MissingGoldenError(f"{file} is neither in the repository nor below ARLAB_GOLDENS = {elsewhere}")
