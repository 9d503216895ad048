"""NAR's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.checkpoints.family import GeneratorFamily
from arlab.checkpoints.importing import Found, import_released
from arlab.checkpoints.llamagen import LlamaGen
from arlab.checkpoints.nar import NAR
from arlab.generators.captions import Captions
from arlab.orderings.next_neighbor import NextNeighbor
from tests.captions import random_prompts
from tests.checkpoints.laws import SEEDS, dice, round_trip
from tests.checkpoints.llama_generators import Sizes


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    sizes = Sizes.drawn(rng, way_layers=rng.randint(1, 3))
    grid = [rng.randint(1, 5), rng.randint(2, 5)]
    family = NAR(
        num_heads=sizes.num_heads,
        grid=grid,
        way_layers=sizes.way_layers,
        rope_base=sizes.rope_base,
        norm_eps=sizes.norm_eps,
    )
    round_trip(family, sizes.generator(NextNeighbor(), grid), tmp_path)


def test_of_texts_released_and_imported_it_is_the_same(tmp_path: Path) -> None:
    sizes = Sizes(1, 4, 5, 1, 1, 10000.0, 1e-5, 3, 2)
    file = random_prompts(tmp_path / "prompts.safetensors", ("0", "1"))
    family = NAR(num_heads=1, grid=[2, 3], way_layers=1, captions=file)
    ordering = NextNeighbor(causal_condition=True)
    round_trip(family, sizes.generator(ordering, [2, 3], conditioner=Captions(file=file)), tmp_path)


def _imported(family: GeneratorFamily) -> None:
    """A tiny NAR, one layer to the right and one more below, taken for one of this family."""
    generator = Sizes(1, 4, 5, 1, 1, 10000.0, 1e-5, 3, 2).generator(NextNeighbor(), [2, 3])
    found = Found(Path("nar.pt"), family, NAR().names(generator).published(generator.state_dict()))
    import_released(found, generator.tokenizer.module)


def test_the_way_below_needs_some_layers_and_so_does_the_other() -> None:
    _imported(NAR(num_heads=1, grid=[2, 3], way_layers=1))
    with pytest.raises(ValueError, match=r"nar\.pt: way_layers: must be fewer than all 2 layers, got 2"):
        _imported(NAR(num_heads=1, grid=[2, 3], way_layers=2))
    with pytest.raises(ValueError, match="way_layers: must be at least 1, got 0"):
        NAR(way_layers=0)


def test_how_many_layers_are_behind_is_asked_for() -> None:
    """Blocks up to the first way out and behind it are counted on in one list."""
    with pytest.raises(ValueError, match=r"do not tell way_layers; give --set way_layers=\.\.\."):
        NAR(num_heads=1, grid=[2, 3]).refuse_missing("nar.pt")


def test_it_is_no_llamagen() -> None:
    with pytest.raises(ValueError, match=r"of LlamaGen, but its tensor medusa_\w+\.weight has no place .*1 more"):
        _imported(LlamaGen(num_heads=1, grid=[2, 3]))
