"""Models whose weights are about to be loaded: drawing them first would take longer than loading them."""

from __future__ import annotations

from contextlib import AbstractContextManager

from lightning.fabric import Fabric


def uninitialised() -> AbstractContextManager[object]:
    """Modules built inside hold whatever is in memory: every weight must be filled afterwards.

    Memory that was not written to is not used, either: a model of gigabytes takes them once, when it is loaded.
    """
    return Fabric(accelerator="cpu", devices=1).init_module(empty_init=True)
