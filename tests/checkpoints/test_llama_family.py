"""What LlamaGen, NAR, PAR and RandAR share: what a file's args and its table of rotary positions tell."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from arlab.checkpoints.importing import Found, import_released
from arlab.checkpoints.llamagen import LlamaGen
from arlab.checkpoints.par import PAR
from arlab.orderings.raster import Raster
from arlab.rotation import angles
from tests.checkpoints.given_tokens import GivenTokens
from tests.checkpoints.llama_generators import Sizes

ARGS: dict[str, object] = {"gpt_model": "GPT-XL", "image_size": 384, "downsample_size": 16}
# Two heads of 8 numbers.
SIZES = Sizes(2, 8, 5, 1, 1, 100.0, 1e-5, 3, 2)


def test_the_args_of_its_training_tell_heads_and_grid() -> None:
    told = LlamaGen(norm_eps=1e-6).informed(ARGS)
    assert told.spec() == LlamaGen(num_heads=20, grid=[24, 24], norm_eps=1e-6).spec()
    # What is given is not asked for again.
    given = PAR(num_heads=20, grid=[24, 24], regions=(2, 3))
    assert given.informed(ARGS) is given
    with pytest.raises(
        ValueError, match=r"grid: image_size=384 and downsample_size=16 make \[24, 24\], got \[16, 16\]"
    ):
        PAR(grid=[16, 16]).informed(ARGS)
    with pytest.raises(ValueError, match="num_heads: gpt_model=GPT-XL has 20, got 16"):
        LlamaGen(num_heads=16).informed(ARGS)


@pytest.mark.parametrize(
    "args",
    [{}, {"gpt_model": "mine", "image_size": "384"}, {"image_size": 384}, {"image_size": 8, "downsample_size": 0}],
)
def test_other_args_tell_nothing(args: dict[str, object]) -> None:
    assert LlamaGen().informed(args).spec() == LlamaGen().spec()


def turns(height: int, width: int, head_width: int, base: float) -> Tensor:
    """The table in its published form, a condition first, here in an order of its own."""
    place = torch.cartesian_prod(torch.arange(height), torch.arange(width)).flip(0)
    angle = angles(place, head_width, base)
    return torch.cat((torch.zeros(1, head_width // 2, 2), torch.stack((angle.cos(), angle.sin()), -1)))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (turns(4, 4, 8, 100.0), ""),
        (turns(4, 4, 8, 100.0).bfloat16(), ""),
        (torch.zeros(5), ""),
        (torch.zeros(3, 0, 2), ""),
        (turns(4, 4, 4, 100.0), "num_heads: its freqs_cis is for heads of 4 numbers, 4 of a width of 16; got 2"),
        (turns(5, 5, 8, 100.0), r"grid: its freqs_cis is of 25 tokens, got \[4, 4\]"),
        (turns(2, 8, 8, 100.0), r"rope_base: its freqs_cis is of another base or another grid .* got 100\.0"),
        (turns(4, 4, 8, 10000.0), r"rope_base: its freqs_cis is of another base or another grid .* got 100\.0"),
    ],
)
def test_its_table_of_positions_must_be_that_of_its_options(table: Tensor, message: str) -> None:
    generator = SIZES.generator(Raster(), [4, 4])
    family = LlamaGen(num_heads=2, grid=[4, 4], rope_base=100.0)
    tensors = family.names(generator).published(generator.state_dict()) | {"freqs_cis": table}
    found = Found(Path("gpt.pt"), family, tensors)
    if not message:
        import_released(found, generator.tokenizer.module)
        return
    with pytest.raises(ValueError, match=f"gpt.pt: {message}"):
        import_released(found, generator.tokenizer.module)


def test_its_options_are_named_as_they_are_given() -> None:
    """And a tokenizer of other codes as what it is."""
    generator = SIZES.generator(Raster(), [4, 4])
    tensors = LlamaGen().names(generator).published(generator.state_dict())
    with pytest.raises(ValueError, match=r"gpt\.pt: num_heads: must divide a width of 16 into multiples of 4, got 3"):
        import_released(Found(Path("gpt.pt"), LlamaGen(num_heads=3, grid=[4, 4]), tensors), generator.tokenizer.module)
    other = GivenTokens(grid=(4, 4), codebook_size=7, num_classes=2)
    with pytest.raises(ValueError, match=r"gpt\.pt: has 3 codes, its tokenizer 7; name its own tokenizer"):
        import_released(Found(Path("gpt.pt"), LlamaGen(num_heads=2, grid=[4, 4]), tensors), other)
    for option, value in (("num_heads", 0), ("rope_base", 0.0), ("norm_eps", float("nan"))):
        with pytest.raises(ValueError, match=f"^{option}: must be"):
            LlamaGen(**{option: value})  # type: ignore[arg-type]
    # A class table that holds 'no class' alone.
    table = "cls_embedding.embedding_table.weight"
    blank = Found(Path("gpt.pt"), LlamaGen(num_heads=2, grid=[4, 4]), tensors | {table: tensors[table][:1]})
    with pytest.raises(ValueError, match=f"gpt.pt: its {table} has one row, that of no class"):
        import_released(blank, generator.tokenizer.module)
