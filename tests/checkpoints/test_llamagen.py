"""LlamaGen's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.checkpoints.llamagen import LlamaGen
from arlab.orderings.raster import Raster
from tests.checkpoints.laws import SEEDS, dice, round_trip
from tests.checkpoints.llama_generators import Sizes


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    sizes, grid = Sizes.drawn(rng), [rng.randint(2, 5), rng.randint(2, 5)]
    family = LlamaGen(num_heads=sizes.num_heads, grid=grid, rope_base=sizes.rope_base, norm_eps=sizes.norm_eps)
    round_trip(family, sizes.generator(Raster(), grid), tmp_path)
