"""The end of a run that was asked to stop."""

from __future__ import annotations

import signal


class Interrupted(BaseException):
    """A run stopped on a signal, after saving what it had. Like ``KeyboardInterrupt`` it is no error.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
