"""Telling a refusal, which a component means, from an error that it makes."""

from __future__ import annotations

import dis
import re

from arlab.conformance.law import LawBrokenError

_KEY = re.compile(r"[a-z_][\w.]*: ")
_RAISE = dis.opmap["RAISE_VARARGS"]
_NOT_ITS_OWN = {"torch", "lightning", "builtins", "abc", "typing"}


def is_refusal(error: ValueError, cls: type) -> bool:
    """Whether a component refuses what it was given: arlab or its own package raises the error by a ``raise``.

    What Python raises itself (``h, w = grid`` on one axis) is a mistake, and so is a broken law. A message that begins
    with an option's key is a refusal wherever it comes from.

    Args:
        error: that was caught.
        cls: the component's class.
    """
    if isinstance(error, LawBrokenError):
        return False
    if _KEY.match(str(error)):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    own = {each.__module__.split(".")[0] for each in cls.__mro__} - _NOT_ITS_OWN
    raised_in = str(trace.tb_frame.f_globals.get("__name__")).split(".")[0]
    return raised_in in {"arlab", *own} and trace.tb_frame.f_code.co_code[trace.tb_lasti] == _RAISE
