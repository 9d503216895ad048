"""``python -m arlab.cli.compare_child fit ...``: arlab as a comparison runs it.

A comparison that is killed cannot tell its children, which therefore look whether it is still there. A run that went on
alone would hold the lock of its folder, and the same command could not go on with it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

from arlab.cli.main import main

_LOOK_EVERY = 1.0


def follow(parent: int) -> None:
    """Stop this process, which then saves what it has, once its parent is another one."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=follow, args=(os.getppid(),), daemon=True).start()
    sys.exit(main())
