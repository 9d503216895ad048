"""PAR's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.checkpoints.importing import Found, import_released
from arlab.checkpoints.par import PAR
from arlab.generators.generator import Generator
from arlab.orderings.region_parallel import RegionParallel
from tests.checkpoints.laws import SEEDS, dice, round_trip
from tests.checkpoints.llama_generators import Sizes


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, told: bool, tmp_path: Path) -> None:
    """With regions that are told, of any number along either axis, and with as many along both, as published."""
    rng = dice(seed)
    high = rng.randint(2, 3)
    regions = (high, rng.randint(1, 4)) if told else (high, high)
    sizes, grid = Sizes.drawn(rng), [regions[0] * rng.randint(2, 3), regions[1] * rng.randint(1, 3)]
    family = PAR(
        num_heads=sizes.num_heads,
        grid=grid,
        regions=regions if told else (),
        rope_base=sizes.rope_base,
        norm_eps=sizes.norm_eps,
    )
    round_trip(family, sizes.generator(RegionParallel(regions=regions), grid), tmp_path)


def _imported(generator: Generator, regions: tuple[int, ...] = ()) -> None:
    family = PAR(num_heads=1, grid=[4, 6], regions=regions)
    found = Found(Path("par.pt"), family, family.names(generator).published(generator.state_dict()))
    import_released(found, generator.tokenizer.module)


def test_regions_must_be_what_its_learned_vectors_ask_for() -> None:
    generator = Sizes(1, 4, 5, 1, 1, 10000.0, 1e-5, 3, 2).generator(RegionParallel(regions=(2, 3)), [4, 6])
    _imported(generator, regions=(2, 3))
    _imported(generator, regions=(1, 6))
    with pytest.raises(ValueError, match=r"par\.pt: regions.*: 6 places are no square grid"):
        _imported(generator)
    with pytest.raises(
        ValueError, match=r"regions: expected 6 in all, one more than spe_tok_embeddings\S* has vectors"
    ):
        _imported(generator, regions=(2, 2))
    with pytest.raises(ValueError, match=r"par\.pt: regions: \[6, 1\] do not divide a grid of \[4, 6\]"):
        _imported(generator, regions=(6, 1))
    with pytest.raises(ValueError, match=r"regions: expected \[high, wide\] of at least 1, got \[6\]"):
        PAR(regions=(6,))
