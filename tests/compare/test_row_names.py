"""Names of rows as short as they can be told apart."""

from __future__ import annotations

import pytest

from arlab.compare.row_names import short_names


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["fashion/raster"], ["fashion/raster"]),
        (["fashion/raster", "fashion/masked"], ["raster", "masked"]),
        (["runs/fashion/raster", "fashion/raster"], ["runs/fashion/raster", "fashion/raster"]),
        (["a/b/c", "a/b/c/d"], ["c", "c/d"]),
        (["fashion/raster + flow", "fashion/raster"], ["raster + flow", "raster"]),
        (["/x/a", "a"], ["/x/a", "a"]),
        (["/x/a", "/x/b"], ["a", "b"]),
        (["a", "b/c"], ["a", "b/c"]),
    ],
)
def test_common_folders_are_left_out(names: list[str], short: list[str]) -> None:
    assert list(short_names(names).values()) == short
