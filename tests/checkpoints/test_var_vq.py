"""The released weights of VAR's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from arlab.checkpoints.importing import import_released, recognise
from arlab.checkpoints.names import Names
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.var_vq import VARVQ
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.phi import PhiConvolutions
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.similarity import Angle
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.checkpoints.laws import dice, tokenizer_round_trip
from tests.checkpoints.var_models import whole_tokenizer

SCALES: list[list[int | list[int]]] = [[1, [1, 2], 3], [1, 2, 3, 5], [2, 3, 5, 6]]


@pytest.mark.parametrize("num", [None, 0, 1, 2, 4, 9])
def test_released_and_imported_it_is_the_same(num: int | None, tmp_path: Path) -> None:
    rng = dice(num or 0)
    levels, width, ratio = rng.randint(2, 3), rng.choice([4, 8]), rng.choice([0.25, 0.5])
    patch_nums = [*rng.choice(SCALES), 256 // 2 ** (levels - 1)]
    quantizer = PyramidQuantizer(
        pyramid=ScalePyramid(patch_nums=patch_nums),
        quantizer=GradientVectorQuantizer(
            codebook_size=rng.randint(5, 50),
            similarity=Angle() if num == 1 else None,
            start_from_data=False,
            revive_below=0,
        ),
        refinement=None if num is None else PhiConvolutions(ratio=ratio, num=num),
    )
    tokenizer = whole_tokenizer(rng, quantizer, width, 256, levels, kernel=rng.choice([1, 3]))
    family = VARVQ(patch_nums=patch_nums, phi_ratio=ratio, using_znorm=num == 1)
    tokenizer_round_trip(family, tokenizer, tmp_path)


def quantizer(num: int, levels: int) -> PyramidQuantizer:
    """Of so many φ for so many scales."""
    made = PyramidQuantizer(
        pyramid=ScalePyramid(patch_nums=[*range(1, levels + 1)]),
        quantizer=GradientVectorQuantizer(codebook_size=3),
        refinement=PhiConvolutions(num=num),
    )
    made.bind(2, (levels, levels))
    return made


@pytest.mark.parametrize("num", [2, 3, 4, 7])
@pytest.mark.parametrize("levels", [1, 2, 3, 5])
def test_convolutions_that_no_scale_takes_are_released_too(num: int, levels: int) -> None:
    made, family = quantizer(num, levels), VARVQ()
    state = {f"quantizer.{name}": value for name, value in made.state_dict().items()}
    table = Names(family.quantizer_names(made))
    theirs = table.published(state)
    assert {name for name in theirs if name.endswith("weight")} == {
        "quantize.embedding.weight",
        *(f"quantize.quant_resi.qresi_ls.{k}.weight" for k in range(num)),
    }
    for name, value in dict(table.own(theirs)).items():
        assert torch.equal(value, state[name])


def test_a_trainers_file_holds_it_deeper(tmp_path: Path) -> None:
    family = VARVQ(patch_nums=[1, 128])
    quantizer = family.quantizer(Shapes({"quantize.embedding.weight": (3, 4)}))
    tokenizer = whole_tokenizer(dice(0), quantizer, 4, 256, levels=2, kernel=3)
    tensors = family.names(tokenizer).published(tokenizer.state_dict())
    tensors["quantize.ema_vocab_hit_SV"] = torch.zeros(2, 3)
    torch.save({"trainer": {"vae_local": tensors}, "args": ""}, tmp_path / "ar-ckpt-last.pth")
    found = recognise(tmp_path / "ar-ckpt-last.pth", [family])
    assert isinstance(import_released(None, found), VQTokenizer)


def test_scales_are_asked_for(tmp_path: Path) -> None:
    save_file({name: torch.zeros(1) for name in VARVQ.marks}, tmp_path / "vae.safetensors")
    found = recognise(tmp_path / "vae.safetensors", [VARVQ()])
    with pytest.raises(ValueError, match="its tensors do not tell patch_nums; give --set patch_nums="):
        import_released(None, found)
