"""Models whose weights are about to be loaded: drawing them first would take longer than loading them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode


class uninitialised(TorchFunctionMode):  # noqa: N801  (used as contextlib's are)
    """Inside, ``torch.nn.init`` leaves parameters as memory comes: every one must be filled afterwards.

    Memory that was not written to is not used, either: a model of gigabytes takes them once, when it is loaded. Buffers
    are made as always, since not all of them are saved.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        given = dict(kwargs or {})
        if getattr(func, "__module__", None) == nn.init.__name__:
            tensor = args[0] if args else given["tensor"]
            if isinstance(tensor, nn.Parameter):
                return tensor
        return func(*args, **given)
