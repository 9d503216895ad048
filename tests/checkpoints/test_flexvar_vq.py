"""The released weights of FlexVAR's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.checkpoints.flexvar_vq import FlexVARVQ
from arlab.checkpoints.shapes import Shapes
from tests.checkpoints.laws import SEEDS, dice, tokenizer_round_trip
from tests.checkpoints.var_models import whole_tokenizer


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    levels, codes, width = rng.randint(2, 3), rng.randint(5, 50), rng.choice([4, 8])
    family = FlexVARVQ(patch_nums=[1, [1, 2], 3, 256 // 2 ** (levels - 1)])
    quantizer = family.quantizer(Shapes({"quantize.embedding.weight": (codes, width)}))
    tokenizer_round_trip(family, whole_tokenizer(rng, quantizer, width, 256, levels, kernel=1), tmp_path)
