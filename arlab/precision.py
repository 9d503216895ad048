"""What stays in float32 when the rest of a model runs in half precision.

Under mixed precision (``torch.autocast``) matrix products run in bfloat16, which keeps 8 bits of a number. Sums over
many terms, exponentials and comparisons of near-equal distances do not survive that: norms, modulation, heads and
quantizers are computed in float32, whatever autocast says.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

_P = ParamSpec("_P")
_R = TypeVar("_R")
_HALF = (torch.bfloat16, torch.float16)


def upcast(x: Tensor) -> Tensor:
    """float32 for half precision; float32, float64, integers and booleans as they are."""
    return x.float() if x.dtype in _HALF else x


def in_float32(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorator: autocast is off inside, and tensors given in half precision arrive as float32.

    Without autocast the function is called as it is, so float32, float64 and models cast to half precision as a whole
    compute what they would without it.
    """

    @functools.wraps(function)
    def wrapped(*args: _P.args, **named: _P.kwargs) -> _R:
        device = next((value.device.type for value in (*args, *named.values()) if isinstance(value, Tensor)), "cpu")
        if not torch.is_autocast_enabled(device):
            return function(*args, **named)
        with torch.autocast(device, enabled=False):
            positional = [upcast(value) if isinstance(value, Tensor) else value for value in args]
            by_name = {key: upcast(value) if isinstance(value, Tensor) else value for key, value in named.items()}
            return function(*positional, **by_name)  # type: ignore[arg-type]

    return wrapped
