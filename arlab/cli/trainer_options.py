"""What numbers the Trainer takes: refused where they are given, not in the middle of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arlab.ranges import require

_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "log_every_n_steps": 0,
    "max_epochs": -1,
    "max_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
    "num_nodes": 1,
    "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0,
}
# A float is a share of the batches, an integer a number of them.
_LIMITS = (
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "limit_predict_batches",
    "overfit_batches",
    "val_check_interval",
)


def check_trainer(options: Mapping[str, Any]) -> None:
    """See that the Trainer's numbers are in range.

    Args:
        options: of the right types.

    Raises:
        ValueError: naming the option, its value and the range.
    """
    for key, least in _LEAST.items():
        value = options.get(key)
        if value is not None:
            require(f"trainer.{key}", value, at_least=least)
    for key in _LIMITS:
        value = options.get(key)
        least = 1 if key == "val_check_interval" else 0
        if (isinstance(value, float) and not 0 <= value <= 1) or (value == 0 and least):
            raise ValueError(f"trainer.{key}: must be a number of batches or a share of them in [0, 1], got {value}")
        if isinstance(value, int):
            require(f"trainer.{key}", value, at_least=least)
    clip = options.get("gradient_clip_val")
    if clip is not None:
        require("trainer.gradient_clip_val", clip, at_least=0)
    _check_devices(options.get("devices"))


def _check_devices(devices: object) -> None:
    """A number, -1 for all, 'auto', or indices as a list or as '0,1'."""
    words = str(devices).strip().split(",") if isinstance(devices, (int, str)) else []
    each = devices if isinstance(devices, list) else [word.strip() for word in words if word.strip()]
    if devices is None or devices == "auto" or str(devices) == "-1":
        return
    least = 0 if isinstance(devices, list) or len(words) > 1 else 1
    if not each or not all(str(index).isdecimal() and int(index) >= least for index in each):
        raise ValueError(f"trainer.devices: expected a positive number, -1 (all), auto or indices, got {devices!r}")
