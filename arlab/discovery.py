"""Import every component, so that all of them can be named without their module."""

from __future__ import annotations

import functools
import importlib
import pkgutil

PACKAGES = (
    "arlab.backbones",
    "arlab.callbacks",
    "arlab.data",
    "arlab.generators",
    "arlab.heads",
    "arlab.optimization",
    "arlab.orderings",
    "arlab.pyramids",
    "arlab.tokenizers",
)


@functools.cache
def discover() -> None:
    """Import arlab's components, subpackages included; after the first time this does nothing."""
    for name in PACKAGES:
        module = importlib.import_module(name)
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), prefix=f"{name}."):
            importlib.import_module(found.name)
