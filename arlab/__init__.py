"""arlab: orderings, heads and tokenizers of visual autoregressive generation, freely combined.

``arlab.load(RUN)`` gives a trained model ready to sample, ``arlab.from_pretrained(NAME)`` one from a hub. Importing
arlab alone does not import torch.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Idle OpenMP threads that spin starve the other cores; this must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["__version__", "from_pretrained", "load"]

if TYPE_CHECKING:
    from arlab.trained import from_pretrained, load


def __getattr__(name: str) -> object:
    if name in ("from_pretrained", "load"):
        from arlab import trained

        return getattr(trained, name)
    raise AttributeError(f"module 'arlab' has no attribute {name!r}")
