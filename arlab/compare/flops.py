"""Floating-point operations, counted as PyTorch runs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

_Shape = tuple[int, ...]


@contextmanager
def counting_flops() -> Iterator[FlopCounterMode]:
    """Counts while it is open; ask what it gives for ``get_total_flops()``.

    Matrix products, convolutions and attention, at two operations per multiplication: 2 m k n of an (m, k) by a (k, n)
    matrix. What is done number by number (norms, activations, softmax, looking vectors up) is not counted, and causal
    attention counts as if nothing were hidden.
    """
    with FlopCounterMode(display=False, custom_mapping=_ATTENTION) as counter:
        yield counter


def _attention(query: _Shape, key: _Shape, value: _Shape, *rest: Any, **named: Any) -> int:
    flops: int = sdpa_flop_count(query, key, value)
    return flops


def _attention_backward(grad_out: _Shape, query: _Shape, key: _Shape, value: _Shape, *rest: Any, **named: Any) -> int:
    flops: int = sdpa_backward_flop_count(grad_out, query, key, value)
    return flops


_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    torch.ops.aten._scaled_dot_product_attention_math_for_mps: _attention,
}
"""Kernels that PyTorch's own counter does not know: without these, attention on a CPU would be free."""
