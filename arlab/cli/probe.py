"""What ``arlab doctor`` asks a process of its own, which a broken package may end: imports, then devices.

Every answer is a line of JSON, written at once, so that whoever reads them sees how far it came: ``at`` says what is
being done, ``error`` why it failed.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
from collections.abc import Callable


def main(modules: list[str]) -> None:
    """Import these modules one by one, then look for devices."""
    for name in modules:
        _try(name, functools.partial(importlib.import_module, name))
    if "torch" in modules:
        _try("torch", _torch)
        _try("CUDA devices", _gpus)
    # Not behind the caller's back: it may have had its reason not to import lightning.
    if {"torch", "lightning"} <= set(modules):
        _try("precision", _precision)
    _tell("end")


def _torch() -> None:
    import torch

    version = torch.version
    build = f"CUDA {version.cuda}" if version.cuda else f"ROCm {version.hip}" if version.hip else None
    _tell("torch", build=build, cuda=torch.cuda.is_available(), mps=torch.backends.mps.is_available())
    _tell("torch", threads=torch.get_num_threads())


def _gpus() -> None:
    import torch

    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        with torch.cuda.device(index):
            bf16 = bool(torch.cuda.is_bf16_supported(including_emulation=False))
            free, total = torch.cuda.mem_get_info()
        _tell("CUDA devices", gpu=torch.cuda.get_device_name(index), index=index, memory=total, free=free, bf16=bf16)


def _precision() -> None:
    from arlab.cli.precision import choose, in_words

    _tell("precision", training=in_words(choose("auto", "auto", None), chosen=False))


def _try(at: str, act: Callable[[], object]) -> None:
    _tell(at)
    try:
        act()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a package may raise anything at import, SystemExit included
        _tell(at, error=" ".join(f"{type(error).__name__}: {error}".split())[:200])


def _tell(at: str, **what: object) -> None:
    # Packages may print while they are imported: what is not a line of JSON is not ours.
    sys.stdout.write(f"\n{json.dumps({'at': at, **what})}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
