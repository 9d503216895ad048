"""Numbers recorded from the published implementations, under ``tests/data/goldens``."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

FOLDER = Path(__file__).parent / "data" / "goldens"


def golden(name: str) -> dict[str, Tensor]:
    """The tensors of ``<name>.safetensors``; half-precision weights stand for exactly these float32 values."""
    tensors = load_file(FOLDER / f"{name}.safetensors")
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
