"""The laws of orderings: ``for law in LAWS: law(Subject(MyOrdering(), Layout(((2, 3),))))``.

Each takes a ``Subject`` and raises ``LawBrokenError`` with the first case it found and what that means. What pyramids,
heads and quantizers obey lies beside; ``arlab.conformance.families`` has it all.
"""

from __future__ import annotations

from collections.abc import Callable

from arlab.conformance.law import LawBrokenError, rebuilt
from arlab.conformance.pass_laws import cache_equals_no_cache, directions, driven_by_truth, no_leak, promise
from arlab.conformance.plan_laws import batching, declared, deterministic, partition, progress
from arlab.conformance.subject import Subject

__all__ = ["LAWS", "LawBrokenError", "Subject"]

LAWS: tuple[Callable[[Subject], None], ...] = (
    partition,
    declared,
    progress,
    deterministic,
    batching,
    no_leak,
    promise,
    driven_by_truth,
    cache_equals_no_cache,
    directions,
    rebuilt,
)
"""In the order in which an author wants to hear about them."""
