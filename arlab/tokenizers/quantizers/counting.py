"""Codebooks that count their training batches where it costs nothing to look.

A number that lies on an accelerator is known only once all the work before it is done, so to look at it is to wait.
"""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

import torch

from arlab.tokenizers.quantizers.quantizer import Codebook


class CountingCodebook(Codebook, ABC):
    """What it decides by are numbers of Python; in a state they are tensors, under the same names."""

    counted_by: ClassVar[tuple[str, ...]] = ("step",)
    """Its numbers that belong to a state."""
    step: int = 0
    """Training batches so far."""

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in self.counted_by:
            destination[prefix + name] = torch.tensor(getattr(self, name), device="cpu")

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for name in self.counted_by:
            if prefix + name in state_dict:
                setattr(self, name, state_dict.pop(prefix + name).item())
            else:
                missing_keys.append(prefix + name)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
