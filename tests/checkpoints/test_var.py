"""VAR's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.checkpoints.flexvar import FlexVAR
from arlab.checkpoints.flexvar_vq import FlexVARVQ
from arlab.checkpoints.importing import import_released, recognise
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.var import PRESETS, VAR
from arlab.checkpoints.var_scales import SCALES_256, SCALES_512, scales_of
from arlab.checkpoints.var_vq import VARVQ
from arlab.cli.main import main
from arlab.generators.generator import Generator
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.trained import load
from tests.checkpoints.laws import SEEDS, dice, round_trip, shaken
from tests.checkpoints.scale_tokens import ScaleTokens
from tests.checkpoints.var_models import (
    KINDS,
    SOME_SCALES,
    Kind,
    Scales,
    generator,
    heads_to_tell,
    released,
    tokens,
    whole_tokenizer,
)
from tests.goldens import FOLDER, MissingGoldenError
from tests.parity.var_tokenizer import whole_file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, kind: Kind, tmp_path: Path) -> None:
    rng = dice(seed)
    patch_nums = rng.choice(SOME_SCALES)
    made = generator(rng, tokens(rng, patch_nums, flex=False), None, kind)
    family = VAR(patch_nums=patch_nums, num_heads=heads_to_tell(made), norm_eps=kind.norm_eps)
    round_trip(family, made, tmp_path)


def small(patch_nums: Scales) -> Generator:
    """One with values of its own everywhere."""
    made = generator(dice(3), tokens(dice(3), patch_nums, flex=False), None, Kind())
    shaken(made, 1)
    return made


def test_what_is_added_to_the_first_scale_stands_on_its_places(tmp_path: Path) -> None:
    made = small([2, 3])
    tensors = released(VAR(), made)
    start = torch.randn_like(tensors["pos_start"])
    assert start.shape[1] == 4
    save_file(tensors | {"pos_start": start}, tmp_path / "var.safetensors")
    found = recognise(tmp_path / "var.safetensors", [VAR(patch_nums=[2, 3])])
    before = made.state_dict()["backbone.places.0.table"]
    after = import_released(found, made.tokenizer.module).state_dict()["backbone.places.0.table"]
    torch.testing.assert_close(after[:4], before[:4] + start[0])
    assert torch.equal(after[4:13], before[4:13])


def test_a_trainers_file_holds_it_deeper(tmp_path: Path) -> None:
    made = small([1, 2, 3])
    buffers = {"lvl_1L": levels([1, 4, 9]), "attn_bias_for_masking": torch.zeros(1, 1, 14, 14)}
    state = {"config": {"patch_nums": (1, 2, 3)}, "var_wo_ddp": released(VAR(), made) | buffers, "vae_local": {}}
    torch.save({"epoch": 3, "trainer": state, "args": ""}, tmp_path / "ar-ckpt-last.pth")
    found = recognise(tmp_path / "ar-ckpt-last.pth", [VAR(patch_nums=[1, 2, 3])])
    assert isinstance(import_released(found, made.tokenizer.module), Generator)


def levels(sizes: list[int]) -> Tensor:
    """Of which scale each place is, as it is released."""
    return torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))[None]


def test_other_scales_of_as_many_places_are_refused(tmp_path: Path) -> None:
    made = small([1, [2, 3], 4])
    save_file(released(VAR(), made) | {"lvl_1L": levels([1, 9, 13])}, tmp_path / "var.safetensors")
    found = recognise(tmp_path / "var.safetensors", [VAR(patch_nums=[1, [2, 3], 4])])
    with pytest.raises(
        ValueError, match=r"patch_nums: by its lvl_1L .* \[1, 9, 13\] places, got scales of \[1, 6, 16\]"
    ):
        import_released(found, made.tokenizer.module)


def test_one_file_of_a_trainer_is_generator_and_tokenizer(tmp_path: Path) -> None:
    """Its args tell the scales of both."""
    scales: Scales = [1, 2, 4]
    rng = dice(1)
    quantizer = VARVQ(patch_nums=scales).quantizer(Shapes({"quantize.embedding.weight": (7, 4)}))
    tokenizer = whole_tokenizer(rng, quantizer, 4, 8, levels=2, kernel=3)
    made = generator(rng, tokenizer, None, Kind())
    parts = {"var_wo_ddp": released(VAR(), made), "vae_local": released(VARVQ(), tokenizer)}
    torch.save({"trainer": parts, "args": {"patch_nums": (1, 2, 4)}}, tmp_path / "ar-ckpt-last.pth")
    run, file = str(tmp_path / "run"), str(tmp_path / "ar-ckpt-last.pth")
    assert main(["import", file, "--family", "var", "--out", run]) == 0
    imported = load(run)
    assert isinstance(imported.tokenizer, VQTokenizer)
    assert torch.equal(imported.model.state_dict()["head.outputs.0.weight"], made.state_dict()["head.outputs.0.weight"])


def test_what_a_trainer_tells_gives_way_to_what_is_given() -> None:
    args = {"depth": 16, "patch_nums": (1, 2, 4)}
    for family in (VAR, VARVQ, FlexVAR, FlexVARVQ):
        assert family().informed({"patch_nums": None}).patch_nums is None
        assert family().informed(args).patch_nums == [1, 2, 4]
        assert family(patch_nums=[1, 3]).informed(args).patch_nums == [1, 3]
        with pytest.raises(ValueError, match=r"^patch_nums: expected sides from 1 on, got \(1, 0\)$"):
            family().informed({"patch_nums": (1, 0)})
    options = VARVQ(phi_ratio=0.25, using_znorm=True).informed(args)
    assert (options.phi_ratio, options.using_znorm) == (0.25, True)
    for heads in (VAR(num_heads=3, norm_eps=0.5).informed(args), FlexVAR(num_heads=3, norm_eps=0.5).informed(args)):
        assert (heads.num_heads, heads.norm_eps) == (3, 0.5)


def published_shapes(depth: int, scales: Scales, *, shared: bool) -> dict[str, tuple[int, ...]]:
    """Of a released file: width 64 d, d heads, 1,000 classes, 4,096 codes of 32 numbers."""
    width, layout = 64 * depth, scales_of(scales)
    ada = {"weight": (6 * width, width), "bias": (6 * width,)}
    block: dict[str, tuple[int, ...]] = {
        "attn.scale_mul_1H11": (1, depth, 1, 1),
        **{f"attn.{name}": (width,) for name in ("q_bias", "v_bias", "proj.bias")},
        "attn.mat_qkv.weight": (3 * width, width),
        "attn.proj.weight": (width, width),
        "ffn.fc1.weight": (4 * width, width),
        "ffn.fc1.bias": (4 * width,),
        "ffn.fc2.weight": (width, 4 * width),
        "ffn.fc2.bias": (width,),
        **({"ada_gss": (1, 1, 6, width)} if shared else {f"ada_lin.1.{part}": ada[part] for part in ada}),
    }
    return {
        "pos_start": (1, 1, width),
        "pos_1LC": (1, layout.num_tokens, width),
        "lvl_embed.weight": (len(layout.shapes), width),
        "word_embed.weight": (width, 32),
        "word_embed.bias": (width,),
        "class_emb.weight": (1001, width),
        "head_nm.ada_lin.1.weight": (2 * width, width),
        "head_nm.ada_lin.1.bias": (2 * width,),
        "head.weight": (4096, width),
        "head.bias": (4096,),
        **{f"blocks.{layer}.{name}": shape for layer in range(depth) for name, shape in block.items()},
        **({f"shared_ada_lin.1.{part}": shape for part, shape in ada.items()} if shared else {}),
    }


@pytest.mark.parametrize(
    ("preset", "millions"),
    [("d16_256", 310), ("d20_256", 601), ("d24_256", 1033), ("d30_256", 2010), ("d36_512", 2350)],
)
def test_released_sizes(preset: str, millions: float) -> None:
    depth, scales = int(preset[1:3]), SCALES_512 if preset.endswith("512") else SCALES_256
    assert PRESETS[preset] == {"patch_nums": scales}
    shapes = published_shapes(depth, [*scales], shared=preset == "d36_512")
    family = VAR(patch_nums=[*scales])
    assert family.count_classes(Shapes(shapes)) == 1000
    quantizer = VARVQ(patch_nums=[*scales]).quantizer(Shapes({"quantize.embedding.weight": (4096, 32)}))
    quantizer.bind(32, scales_of(scales).finest)
    tokenizer = ScaleTokens(quantizer=quantizer, width=32, num_classes=1000)
    with torch.device("meta"):
        made = family.generator(Shapes(shapes), tokenizer)
        expected = family.names(made).published(made.state_dict())
    assert {name: tuple(value.shape) for name, value in expected.items()} == shapes
    assert sum(value.numel() for value in expected.values()) / 1e6 == pytest.approx(millions, rel=0.01)
    attention = made.backbone.attention
    assert isinstance(attention, Attention)
    assert attention.num_heads == depth


def refusal(family: VAR, made: Generator, folder: Path, changed: dict[str, Tensor] | None = None) -> str:
    """What is said of its file."""
    save_file(released(VAR(), made) | (changed or {}), folder / "var.safetensors")
    with pytest.raises(ValueError, match=r"var\.safetensors: ") as refused:
        import_released(recognise(folder / "var.safetensors", [family]), made.tokenizer.module)
    return str(refused.value).removeprefix(f"{folder / 'var.safetensors'}: ")


def test_scales_are_asked_for(tmp_path: Path) -> None:
    told = refusal(VAR(), small([1, 2, 3]), tmp_path)
    assert told.startswith("its tensors do not tell patch_nums; give --set patch_nums=..., or a released size by")


@pytest.mark.parametrize(
    ("patch_nums", "told"),
    [
        ([1, 2, 4], "3 scales of 21 places in all were given, its lvl_embed.weight and pos_1LC are of 3 and 14"),
        # As many scales of as many places, but others than the tokenizer's.
        ([[1, 2], [1, 3], 3], "the scales 1x2, 1x3, 3x3 are not the tokenizer's, 1x1, 2x2, 3x3"),
        ([1, [2, 2, 2]], "expected sides or [height, width], got [2, 2, 2]"),
        ([1, 0, 3], "every side must be at least 1, got 0"),
        ([], "expected 1 to 1000 levels, got 0"),
    ],
)
def test_scales_that_do_not_fit_are_refused(patch_nums: Scales, told: str, tmp_path: Path) -> None:
    assert refusal(VAR(patch_nums=patch_nums), small([1, 2, 3]), tmp_path) == f"patch_nums: {told}"


def test_heads_that_contradict_the_tensors_are_refused(tmp_path: Path) -> None:
    made = small([1, 2, 3])
    heads = made.backbone.attention.num_heads
    told = refusal(VAR(patch_nums=[1, 2, 3], num_heads=heads + 1), made, tmp_path)
    assert told == f"num_heads: {heads + 1}, but its blocks.0.attn.scale_mul_1H11 is of {heads} heads"


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("blocks.0.ffn.fc1.weight", (5,), "its blocks.0.ffn.fc1.weight is of shape (5,), too few axes"),
        ("blocks.0.ffn.fc1.weight", (5, 0), "its blocks.0.ffn.fc1.weight is of shape (5, 0), which is empty"),
        ("pos_1LC", (14,), "its pos_1LC is of shape (14,), too few axes"),
        ("blocks.0.ada_gss", (1, 1, 6, 4), "of VAR, but its tensor blocks.0.ada_gss has no place in such a model"),
    ],
)
def test_tensors_that_do_not_fit_are_named(name: str, shape: tuple[int, ...], told: str, tmp_path: Path) -> None:
    assert refusal(VAR(patch_nums=[1, 2, 3]), small([1, 2, 3]), tmp_path, {name: torch.zeros(shape)}) == told


def test_the_golden_generator_and_tokenizer_are_one_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        save_file(whole_file(), tmp_path / "vae.safetensors")
    except MissingGoldenError as missing:
        pytest.skip(str(missing))
    files = [str(FOLDER / "varA_var_fp16.safetensors"), str(tmp_path / "vae.safetensors")]
    run = str(tmp_path / "run")
    assert main(["import", *files, "--family", "var", "--set", "patch_nums=[1,2,3,4]", "--out", run]) == 0
    assert "NextScale, Transformer, DiscreteHead, VQTokenizer" in capsys.readouterr().out
    assert main(["sample", run, "--num_images", "2", "--out", str(tmp_path / "two.png")]) == 0
    assert (tmp_path / "two.png").stat().st_size > 0
