"""FlexVAR's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from arlab.checkpoints.flexvar import FlexVAR
from arlab.checkpoints.flexvar_vq import FlexVARVQ
from arlab.checkpoints.importing import import_released, recognise
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.var import VAR
from arlab.cli.main import main
from tests.checkpoints.laws import SEEDS, dice, round_trip, shaken
from tests.checkpoints.var_models import (
    KINDS,
    SOME_SCALES,
    Kind,
    generator,
    heads_to_tell,
    released,
    tokens,
    whole_tokenizer,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, kind: Kind, tmp_path: Path) -> None:
    rng = dice(seed)
    patch_nums = rng.choice(SOME_SCALES)
    made = generator(rng, tokens(rng, patch_nums, flex=True), patch_nums, kind)
    family = FlexVAR(patch_nums=patch_nums, num_heads=heads_to_tell(made), norm_eps=kind.norm_eps)
    round_trip(family, made, tmp_path)


def test_several_places_of_the_first_scale_are_refused(tmp_path: Path) -> None:
    """Each would start with a vector of its own there; here all stand on one condition slot."""
    rng = dice(0)
    made = generator(rng, tokens(rng, [2, 3], flex=True), [2, 3], Kind())
    tensors = released(FlexVAR(), made)
    tensors["pos_start"] = tensors["pos_start"].repeat(1, 4, 1)
    save_file(tensors, tmp_path / "flexvar.safetensors")
    found = recognise(tmp_path / "flexvar.safetensors", [FlexVAR(patch_nums=[2, 3])])
    with pytest.raises(ValueError, match=r"pos_start is of shape \(1, 4, \d+\), expected \(1, 1, \d+\)"):
        import_released(found, made.tokenizer.module)


def test_the_two_families_are_told_apart(tmp_path: Path) -> None:
    rng = dice(0)
    var = generator(rng, tokens(rng, [1, 2, 3], flex=False), None, Kind())
    flex = generator(rng, tokens(rng, [1, 2, 3], flex=True), [1, 2, 3], Kind())
    save_file(released(VAR(), var), tmp_path / "var.safetensors")
    save_file(released(FlexVAR(), flex), tmp_path / "flexvar.safetensors")
    with pytest.raises(ValueError, match=r"is no VAR checkpoint, it has no tensor lvl_embed.weight; .* FlexVAR$"):
        recognise(tmp_path / "flexvar.safetensors", [VAR()])
    found = recognise(tmp_path / "var.safetensors", [FlexVAR(patch_nums=[1, 2, 3])])
    with pytest.raises(ValueError, match=r"pos_1LC is of shape \(1, 14, \d+\), .* VAR's has three axes$"):
        import_released(found, flex.tokenizer.module)


def test_files_as_they_are_released_become_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The trainer's of the generator, with its mask; the tokenizer's below 'model'."""
    rng = dice(1)
    quantizer = FlexVARVQ(patch_nums=[1, 2, 4]).quantizer(Shapes({"quantize.embedding.weight": (7, 4)}))
    vae = whole_tokenizer(rng, quantizer, width=4, size=8, levels=2, kernel=1)
    made = generator(rng, vae, [1, 2, 4], Kind())
    shaken(made, 1)
    mask = {"attn_bias_for_masking": torch.zeros(1, 1, 24, 24)}
    trainer = {"var_wo_ddp": released(FlexVAR(), made) | mask, "config": {}}
    torch.save({"epoch": 1, "trainer": trainer}, tmp_path / "d16.pth")
    codes = {"quantize.codebook_used": torch.zeros(65536)}
    torch.save({"model": FlexVARVQ().names(vae).published(vae.state_dict()) | codes}, tmp_path / "FlexVAE.pth")
    files, run = [str(tmp_path / "d16.pth"), str(tmp_path / "FlexVAE.pth")], str(tmp_path / "run")
    assert main(["import", *files, "--family", "flexvar", "--set", "patch_nums=[1,2,4]", "--out", run]) == 0
    assert "NextScale, Transformer, DiscreteHead, VQTokenizer" in capsys.readouterr().out
    picture = str(tmp_path / "two.png")
    # Trained on 1, 2, 4; sampled with others.
    assert main(["sample", run, "--num_images", "2", "--patch_nums", "1", "3", "4", "--out", picture]) == 0
    assert Path(picture).stat().st_size > 0
