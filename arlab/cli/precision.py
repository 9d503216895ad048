"""Which precision a run computes in where its configuration leaves that open, and whether the machine can do it."""

from __future__ import annotations

import os

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry

from arlab.cli.errors import suggestion

_FLOAT32, _BF16, _FP16 = "32-true", "bf16-mixed", "16-mixed"
_KEEPING = (_FLOAT32, _BF16, _FP16)
_SHORT = {"32": _FLOAT32, "16": _FP16, "bf16": _BF16}


def choose(accelerator: object, devices: object, precision: object) -> str:
    """What to give the Trainer as ``precision``: what is configured, or the device's own where that is None.

    bf16-mixed on CUDA devices that compute in bfloat16 natively, float32 everywhere else.

    Args:
        accelerator: as in ``trainer.accelerator``.
        devices: as in ``trainer.devices``.
        precision: as in ``trainer.precision``.

    Raises:
        ValueError: this machine has no such accelerator, not as many devices, or they cannot do the precision.
    """
    kind = _accelerator(accelerator)
    found = _devices(kind, devices)
    cuda = kind.name() == "cuda"
    if precision is None:
        return _BF16 if cuda and all(map(native_bf16, found)) else _FLOAT32
    asked = _SHORT.get(str(precision), str(precision))
    possible = _KEEPING if kind.name() != "cpu" else (_FLOAT32, _BF16)
    if cuda and not torch.cuda.is_bf16_supported():
        possible = (_FLOAT32, _FP16)
    if asked not in possible:
        # Lightning would take 16-mixed for bf16-mixed on a CPU, and train weights that are not float32 with an average
        # and a codebook that are.
        why = f"is not possible on {kind.name()}" if asked in _KEEPING else "does not keep weights in float32"
        raise ValueError(f"trainer.precision: {precision} {why}; choose from {', '.join(possible)}")
    return asked


def native_bf16(index: int) -> bool:
    """Whether a CUDA device computes in bfloat16 itself, rather than by emulation, which is slower than float32."""
    with torch.cuda.device(index):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def describe(trainer: L.Trainer, configured: object) -> str:
    """Device and precision of a Trainer in a few words: 'cpu · float32'.

    Args:
        trainer: any.
        configured: ``trainer.precision`` of the configuration; None if it was chosen.
    """
    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    count = f"{trainer.world_size} × " if trainer.world_size > 1 else ""
    return f"{count}{name} · {in_words(str(trainer.precision), chosen=configured is None)}"


def in_words(precision: str, *, chosen: bool) -> str:
    """float32 for 32-true; that another one was chosen rather than configured."""
    if precision == _FLOAT32:
        return "float32"
    return f"{precision} (chosen: trainer.precision is not set)" if chosen else precision


def _accelerator(asked: object) -> type[Accelerator]:
    """The class the Trainer would choose."""
    if isinstance(asked, Accelerator):
        return type(asked)
    there = {name: AcceleratorRegistry[name]["accelerator"] for name in AcceleratorRegistry.available_accelerators()}
    available = [name for name, each in there.items() if each.is_available()]
    if asked not in ("auto", "gpu", *there):
        raise ValueError(f"trainer.accelerator: no {asked!r}.{suggestion(str(asked), ['auto', 'gpu', *there])}")
    wanted = {"auto": ("tpu", "mps", "cuda", "cpu"), "gpu": ("mps", "cuda")}.get(str(asked), (str(asked),))
    name = next((name for name in wanted if name in available), None)
    if name is None:
        raise ValueError(
            f"trainer.accelerator: {asked} is not available with torch {torch.__version__} on this machine; "
            f"choose auto or {', '.join(sorted(available))} (`arlab doctor` shows the devices)"
        )
    kind: type[Accelerator] = there[name]
    return kind


def _devices(kind: type[Accelerator], asked: object) -> list[int]:
    """The numbers of the devices the Trainer would use; of processes on the CPU."""
    count = kind.auto_device_count()
    try:
        parsed = kind.parse_devices(count if asked == "auto" else asked)
        if not parsed:
            raise ValueError("none")
    except (MisconfigurationException, TypeError, ValueError) as error:
        choices = "a number of processes"
        if kind.name() != "cpu":
            choices = f"auto, -1, 1 to {count}, or a list of numbers from 0 to {count - 1}"
        raise ValueError(f"trainer.devices: {asked} is not possible on {kind.name()}; choose {choices}") from error
    cores = os.cpu_count() or 1
    if kind.name() == "cpu" and isinstance(parsed, int) and parsed > cores:
        raise ValueError(f"trainer.devices: {parsed} processes on {cores} CPU cores; give at most {cores}")
    return list(range(parsed)) if isinstance(parsed, int) else [int(index) for index in parsed]
