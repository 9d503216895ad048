"""RandAR's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from arlab.backbones.instruction_places import InstructionPlaces
from arlab.checkpoints.importing import Found, import_released
from arlab.checkpoints.randar import RandAR
from arlab.orderings.random_instructed import RandomInstructed
from arlab.orderings.set_sizes import CosineSizes
from tests.checkpoints.laws import SEEDS, dice, round_trip, shaken
from tests.checkpoints.llama_generators import Sizes


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    sizes, grid, num_steps = Sizes.drawn(rng), [rng.randint(2, 5), rng.randint(2, 5)], rng.randint(1, 30)
    family = RandAR(
        num_heads=sizes.num_heads,
        grid=grid,
        num_steps=num_steps,
        rope_base=sizes.rope_base,
        norm_eps=sizes.norm_eps,
    )
    generator = sizes.generator(
        RandomInstructed(set_sizes=CosineSizes(num_steps=num_steps)),
        grid,
        places=[InstructionPlaces(num_heads=sizes.num_heads, base=sizes.rope_base)],
    )
    round_trip(family, generator, tmp_path)


def test_an_instruction_is_nothing_but_its_place() -> None:
    """What the ordering adds to all instructions alike is not published: zero, whatever it was."""
    places = [InstructionPlaces(num_heads=1, base=100.0)]
    generator = Sizes(1, 4, 5, 1, 1, 100.0, 1e-5, 3, 2).generator(RandomInstructed(), [2, 3], places=[*places])
    shaken(generator, 0)
    family = RandAR(num_heads=1, grid=[2, 3], rope_base=100.0)
    theirs = family.names(generator).published(generator.state_dict())
    assert set(theirs) >= {"pos_instruct_embeddings"}
    imported = import_released(Found(Path("randar.pt"), family, theirs), generator.tokenizer.module)
    own = imported.state_dict()
    assert not own.pop("slot_embedding.learned_RD").any()
    assert all(torch.equal(value, generator.state_dict()[name]) for name, value in own.items())
