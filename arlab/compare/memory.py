"""How much memory the tensors of a computation take at its peak."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory(run: Callable[[], object], device: torch.device) -> int:
    """Bytes on a device at the peak of ``run``, above what was taken there before it.

    Where the device's allocator keeps a record, that. Elsewhere, a CPU included, the bytes of the storages alive at
    once of the tensors that operations gave: the same whenever it is measured, which what the operating system counts
    is not; without what a single operation takes and gives back inside.

    Args:
        run: what is measured; run once.
        device: where.
    """
    gc.collect()
    record = None if device.type == "cpu" else torch.get_device_module(device)
    if record is None or not hasattr(record, "max_memory_allocated"):
        alive = _Alive(device)
        with alive:
            run()
        return alive.peak
    record.synchronize(device)
    record.reset_peak_memory_stats(device)
    before = record.memory_allocated(device)
    run()
    record.synchronize(device)
    return int(record.max_memory_allocated(device) - before)


class _Alive(TorchDispatchMode):
    """Watches which storages on a device are alive that were made since it was entered.

    Args:
        device: where.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.peak = 0
        self._now = 0
        self._alive: dict[int, tuple[weakref.ref[torch.UntypedStorage], int]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = {} if kwargs is None else kwargs
        # What an operation is given was there before, and views and what is written in place share its storage. But
        # what Python makes a tensor of is told by this operation alone.
        fresh = func is torch.ops.aten.lift_fresh.default
        given = set() if fresh else {storage._cdata for storage in self._storages((args, kwargs))}
        out = func(*args, **kwargs)
        for storage in self._storages(out):
            if storage._cdata in self._alive or storage._cdata not in given:
                self._see(storage)
        return out

    def _storages(self, nested: Any) -> list[torch.UntypedStorage]:
        tensors = [leaf for leaf in tree_leaves(nested) if isinstance(leaf, Tensor)]
        return [tensor.untyped_storage() for tensor in tensors if tensor.device.type == self.device.type]

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            reference, before = self._alive[key]
            self._now -= before
        else:
            reference = weakref.ref(storage, lambda _: self._forget(key))
        self._alive[key] = reference, size
        self._now += size
        self.peak = max(self.peak, self._now)

    def _forget(self, key: int) -> None:
        _, size = self._alive.pop(key)
        self._now -= size
