"""Names of rows as short as they can be told apart."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePosixPath


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Each name without the folders that all begin with: of fashion/raster and fashion/masked, raster and masked.

    Args:
        names: different ones.
    """
    parents = [PurePosixPath(name).parent.as_posix() for name in names]
    # Of absolute and relative ones there is nothing in common.
    if len(names) < 2 or len({name.startswith("/") for name in names}) > 1:
        return {name: name for name in names}
    shared = os.path.commonpath(parents)
    return {name: PurePosixPath(name).relative_to(shared).as_posix() for name in names}
