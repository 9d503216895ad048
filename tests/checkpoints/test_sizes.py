from __future__ import annotations

import pytest

from arlab.backbones.feed_forward import MLP
from arlab.checkpoints.sizes import grid_of, ratio_of


def test_a_ratio_makes_the_hidden_width_again() -> None:
    """Also where the quotient is rounded down: 11 · (15 / 11) is below 15."""
    for width in range(1, 60):
        for hidden in range(1, 4 * width + 10):
            assert int(width * ratio_of(hidden, width)) == hidden
    assert MLP(ratio=ratio_of(15, 11)).build(11, 0.0).fc1.out_features == 15  # type: ignore[union-attr]
    assert ratio_of(3072, 768) == 4.0
    with pytest.raises(ValueError, match="feed-forward layers are of width 0, 3 inside"):
        ratio_of(3, 0)


def test_grids() -> None:
    assert grid_of(16, 0) == (4, 4)
    assert grid_of(128, 1) == (1, 128)
    assert grid_of(6, 2) == (2, 3)
    with pytest.raises(ValueError, match="rows: 6 places are no square grid"):
        grid_of(6, 0)
    with pytest.raises(ValueError, match="rows: no grid has -3 places"):
        grid_of(-3, 0)
    for rows in (4, -1):
        with pytest.raises(ValueError, match=f"rows: 6 places are no grid of {rows} rows"):
            grid_of(6, rows)
