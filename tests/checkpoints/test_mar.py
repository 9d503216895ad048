"""MAR's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.norms import LayerNorm
from arlab.checkpoints.flowar import FlowAR
from arlab.checkpoints.importing import Found, import_released
from arlab.checkpoints.mar import MAR
from arlab.checkpoints.xar import XAR
from arlab.cli.main import main
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.diffusion_targets import PredictsNoise
from arlab.heads.diffusion_variances import LargeVariance, LearnedRange
from arlab.heads.token_mlp import TokenMLP
from arlab.orderings.masked import Masked
from arlab.orderings.set_sizes import CosineSizes
from tests.checkpoints.given_tokens import GivenTokens
from tests.checkpoints.laws import SEEDS, dice, round_trip
from tests.goldens import MissingGoldenError, golden


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    num_heads, num_steps, diffusion_steps = rng.choice([1, 2, 3]), rng.randint(1, 300), rng.randint(1, 300)
    width, rows, norm_eps = num_heads * rng.choice([4, 7]), rng.randint(2, 5), rng.choice([1e-5, 1e-6])
    generator = Generator(
        tokenizer=GivenTokens(grid=(rows, rng.randint(2, 5)), width=rng.randint(1, 6), num_classes=rng.randint(1, 9)),
        ordering=Masked(set_sizes=CosineSizes(num_steps=num_steps)),
        backbone=EncoderDecoder(
            width=width,
            num_encoder_layers=rng.randint(1, 3),
            num_decoder_layers=rng.randint(1, 3),
            attention=Attention(num_heads=num_heads, qkv_bias=True, out_bias=True),
            feed_forward=MLP(ratio=rng.randint(1, 4), activation=Activation.GELU),
            norm=LayerNorm(eps=norm_eps),
            dropout=0.1,
        ),
        head=DiffusionHead(
            denoiser=TokenMLP(width=rng.randint(3, 20), num_blocks=rng.randint(1, 3)),
            target=PredictsNoise(),
            variance=rng.choice([LearnedRange(), LargeVariance()]),
            num_steps=diffusion_steps,
            repeats=4,
        ),
        conditioner=ClassLabel(num_slots=rng.randint(1, 5)),
        ema_decay=0,
    )
    family = MAR(
        num_heads=num_heads, num_steps=num_steps, diffusion_steps=diffusion_steps, norm_eps=norm_eps, rows=rows
    )
    round_trip(family, generator, tmp_path, in_part=frozenset({"backbone.out_places.0.table"}))


def release(hidden: int = 16, token_width: int = 4) -> dict[str, Tensor]:
    """A small one, of 2 x 2 tokens."""
    generator = Generator(
        tokenizer=GivenTokens(grid=(2, 2), width=token_width),
        ordering=Masked(),
        backbone=EncoderDecoder(
            width=7,
            num_encoder_layers=1,
            num_decoder_layers=1,
            attention=Attention(num_heads=1, qkv_bias=True, out_bias=True),
            feed_forward=MLP(ratio=hidden / 7 + 1e-9, activation=Activation.GELU),
        ),
        head=DiffusionHead(denoiser=TokenMLP(width=4), target=PredictsNoise()),
    )
    return MAR().names(generator).published(generator.state_dict())


def imported(tensors: dict[str, Tensor], family: MAR | None = None, width: int = 4) -> Generator:
    found = Found(Path("mar.pth"), MAR(num_heads=1) if family is None else family, tensors)
    made = import_released(found, GivenTokens(grid=(2, 2), width=width))
    assert isinstance(made, Generator)
    return made


@pytest.mark.parametrize("hidden", range(1, 60, 3))
def test_widths_inside_are_not_lost_to_rounding(hidden: int) -> None:
    backbone = imported(release(hidden)).backbone
    assert backbone.get_parameter("encoder_blocks.0.feed_forward.fc1.weight").shape == (hidden, 7)


def test_what_it_cannot_be_is_told_in_one_line() -> None:
    asked = r"mar\.pth: its tensors do not tell num_heads; give --set num_heads=\.\.\., or a .* --preset b\|l\|h"
    with pytest.raises(ValueError, match=asked):
        imported(release(), MAR())
    for width, patches in ((5, "$"), (16, "; or it is of patch_size 2, which cannot be imported$")):
        other = rf"takes vectors of {width} numbers, its tokenizer's are of 4; name its own tokenizer{patches}"
        with pytest.raises(ValueError, match=other):
            imported(release(token_width=width))
    with pytest.raises(ValueError, match=r"mar\.pth: num_heads: must divide a width of 7, got 2"):
        imported(release(), MAR(num_heads=2))
    with pytest.raises(ValueError, match=r"mar\.pth: rows: 4 places are no grid of 3 rows"):
        imported(release(), MAR(num_heads=1, rows=3))
    without = release()
    del without["fake_latent"]
    with pytest.raises(ValueError, match=r"mar\.pth: of MAR, but it has no tensor fake_latent"):
        imported(without)


@pytest.mark.parametrize("copies", [0, -1])
def test_a_class_that_is_fed_nowhere_is_refused(copies: int) -> None:
    tensors = release()
    for name in ("encoder_pos_embed_learned", "decoder_pos_embed_learned"):
        tensors[name] = tensors[name][:, : 4 + copies]
    with pytest.raises(ValueError, match=f"buffer_size: must be at least 1, .* got {copies}"):
        imported(tensors)


def test_a_training_scripts_options_tell_heads_and_patches() -> None:
    assert (
        MAR(num_steps=8).informed({"model": "mar_base", "patch_size": 1}).spec()
        == MAR(num_heads=12, num_steps=8).spec()
    )
    assert MAR().informed({"model": "mar_mine"}).num_heads is None
    assert MAR(num_heads=3).informed({"model": "mar_base"}).num_heads == 3
    for family in (MAR(), FlowAR(), XAR()):
        with pytest.raises(ValueError, match="patch_size: only files of patch_size 1 can be imported, got 2"):
            family.informed({"patch_size": 2})


def test_options_out_of_range_are_refused_by_their_names() -> None:
    for options in ({"num_heads": 0}, {"num_steps": 0}, {"diffusion_steps": 1001}, {"norm_eps": float("nan")}):
        (key,) = options
        with pytest.raises(ValueError, match=f"^{key}: must be"):
            MAR(**options)


def test_recorded_files_become_a_run_that_draws(tmp_path: Path) -> None:
    try:
        files = {"mar.pth": golden("marA_state"), "kl.ckpt": golden("marA_vae_state")}
    except MissingGoldenError as missing:
        pytest.skip(str(missing))
    for name, entry in (("mar.pth", "model_ema"), ("kl.ckpt", "model")):
        torch.save({entry: files[name], "epoch": 1}, tmp_path / name)
    run, drawn = tmp_path / "run", tmp_path / "drawn.png"
    settings = ["num_heads=4", "num_steps=3", "diffusion_steps=2", "scale=0.2325"]
    files_of_it = [str(tmp_path / name) for name in files]
    assert main(["import", *files_of_it, "--family", "mar", "--set", *settings, "--out", str(run)]) == 0
    assert main(["sample", str(run), "--num_images", "2", "--out", str(drawn)]) == 0
