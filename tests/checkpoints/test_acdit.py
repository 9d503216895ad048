"""ACDiT's released weights."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP
from arlab.backbones.mixed_axes import MixedAxes
from arlab.backbones.noised_modulation import NoisedOnly
from arlab.backbones.norms import NoQKNorm, NormedQK, RMSNorm
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.acdit import ACDiT
from arlab.checkpoints.sd_kl import DiffusersKL
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import ratio_of
from arlab.cli.main import main
from arlab.data.facts import DataFacts
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.diffusion_samplers import DPMSolver2M
from arlab.heads.diffusion_targets import PredictsNoise
from arlab.heads.diffusion_variances import SmallVariance
from arlab.heads.noise_schedules import LinearSchedule
from arlab.orderings.entities import Cells
from arlab.orderings.next_block import NextBlock
from arlab.runs.resolve import load_model
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.quantizers.kl import KL
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_parts import AttentionLevels
from tests.checkpoints.given_tokens import GivenTokens
from tests.checkpoints.laws import SEEDS, dice, round_trip

ARGS: dict[str, object] = {
    "image_size": 256,
    "vae_patch_pixels": 8,
    "patch_size": 1,
    "block_size": 256,
    "ar_len": 4,
    "num_frames": 1,
    "nd_split": "1_3",
}


def tiny(seed: int, *, normed: bool, grid: tuple[int, int] | None = None) -> tuple[ACDiT, Generator]:
    rng = dice(seed)
    # Only the norm of queries tells the width of a head; without it is always 64.
    num_heads, head_width = (rng.choice([1, 2, 3]), rng.choice([4, 8])) if normed else (rng.choice([1, 2]), 64)
    width, norm_eps, num_steps = num_heads * head_width, rng.choice([1e-5, 1e-6]), rng.randint(2, 30)
    block, blocks = [rng.randint(1, 2), rng.randint(1, 2)], (rng.randint(1, 3), rng.randint(1, 3))
    if grid is None:
        grid = block[0] * blocks[0], block[1] * blocks[1]
    nd_split = rng.choice([(), (1, 1), (1, 3)]) if num_heads * head_width % 8 == 0 and head_width > 4 else ()
    norm = RMSNorm(eps=norm_eps)
    generator = Generator(
        tokenizer=GivenTokens(grid=grid, width=rng.choice([4, 16]), num_classes=rng.randint(1, 9)),
        ordering=NextBlock(entities=Cells(shape=block)),
        backbone=Transformer(
            width=width,
            num_layers=rng.randint(1, 3),
            attention=Attention(
                num_heads=num_heads,
                qk_norm=NormedQK(norm=norm) if normed else NoQKNorm(),
                qkv_bias=True,
                out_bias=True,
            ),
            feed_forward=MLP(ratio=ratio_of(rng.randint(1, 70), width)),
            norm=norm,
            rotary=MixedAxes(shares=list(nd_split) or None),
            modulation=NoisedOnly(),
        ),
        head=DiffusionHead(
            denoiser=BackboneDenoiser(),
            schedule=LinearSchedule(),
            target=PredictsNoise(),
            variance=SmallVariance(),
            sampler=DPMSolver2M(),
            num_steps=num_steps,
        ),
        conditioner=ClassLabel(num_slots=0),
        ema_decay=0,
    )
    told = ACDiT(grid=list(grid), block=block, nd_split=nd_split, num_steps=num_steps, norm_eps=norm_eps)
    return told, generator


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, normed: bool, tmp_path: Path) -> None:
    round_trip(*tiny(seed, normed=normed), tmp_path)


def test_with_its_tokenizer_it_draws_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Imported by the command, sampled by the command; the file tells grid and block, latents have the known scale."""
    monkeypatch.chdir(tmp_path)
    _, generator = tiny(4, normed=True, grid=(4, 4))
    height, width = generator.layout.finest
    tokenizer = KLTokenizer(
        facts=DataFacts("imagenet", 3, (8 * height, 8 * width)),
        autoencoder=VQGANAutoencoder(channels=32, channel_multipliers=[1, 1, 1, 1], attention=AttentionLevels()),
        token_width=generator.tokenizer.space.width,
    )
    released = ACDiT().names(generator).published(generator.state_dict())
    args = Namespace(**ARGS | {"image_size": 32, "block_size": 4, "ar_len": 4, "nd_split": None})
    torch.save({"model": released, "ema": released, "opt": {}, "args": args}, "acdit.pt")
    released = DiffusersKL().names(tokenizer).published(tokenizer.state_dict())
    save_file({name: value.contiguous() for name, value in released.items()}, "vae.safetensors")
    told = ["--family", "acdit", "--set", "num_steps=2", "--out", "run"]
    assert main(["import", "acdit.pt", "vae.safetensors", *told]) == 0
    model = load_model("run", Generator)
    assert isinstance(model.ordering, NextBlock)
    assert model.ordering.spec() == NextBlock(entities=Cells(shape=[2, 2])).spec()
    imported = model.tokenizer.module
    assert isinstance(imported, KLTokenizer)
    assert isinstance(imported.quantizer, KL)
    assert imported.quantizer.scale == 0.18215
    assert main(["sample", "run", "--num_images", "2", "--scale", "1", "--out", "two.png"]) == 0
    assert "2 images" in capsys.readouterr().out


def test_patches_are_refused() -> None:
    family, generator = tiny(0, normed=True)
    published = family.names(generator).published(generator.state_dict())
    shapes = Shapes({name: tuple(value.shape) for name, value in published.items()})
    with pytest.raises(ValueError, match=r"x_embedder\.weight takes \d+ numbers at a place, its tokenizer's .* of 1;"):
        family.generator(shapes, GivenTokens(grid=(2, 2), width=1))


def test_blocks_have_two_sides() -> None:
    family, generator = tiny(0, normed=True)
    published = family.names(generator).published(generator.state_dict())
    shapes = Shapes({name: tuple(value.shape) for name, value in published.items()})
    with pytest.raises(ValueError, match=r"block: expected \[height, width\] of at most .*, got \[4\]"):
        ACDiT(grid=[2, 2], block=[4]).generator(shapes, generator.tokenizer.module)
    with pytest.raises(ValueError, match=r"block: must divide a grid of \[4, 4\], got \[2, 3\]"):
        ACDiT(grid=[4, 4], block=[2, 3]).generator(shapes, generator.tokenizer.module)


def test_the_args_of_its_training_tell_grid_block_and_split() -> None:
    told = ACDiT(num_steps=9).informed(ARGS)
    assert told.spec() == ACDiT(grid=[32, 32], block=[16, 16], nd_split=(1, 3), num_steps=9).spec()
    # What is given may not be another.
    with pytest.raises(ValueError, match=r"block: it was trained with \[16, 16\], got \[8, 8\]; leave it out"):
        ACDiT(block=[8, 8]).informed(ARGS)
    assert ACDiT(grid=[32, 32], block=[16, 16]).informed(ARGS).spec() == told.spec() | {
        "init_args": {**told.spec()["init_args"], "num_steps": 25}
    }
    whole = ACDiT(grid=[4, 4], block=[2, 2])
    assert whole.informed({}) is whole
    # What it lacks is asked for.
    part = ACDiT().informed({"image_size": 256, "block_size": 256, "nd_split": None})
    assert part.spec() == ACDiT(block=[16, 16]).spec()
    with pytest.raises(ValueError, match=r"mine\.pt: its tensors do not tell grid; give --set grid=..., or .* xl\|h"):
        part.refuse_missing("mine.pt")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"image_size": "256"}, "image_size: expected a whole number from 1 to 65536, got '256'"),
        ({"patch_size": True}, "patch_size: expected a whole number from 1 to 65536, got True"),
        ({"vae_patch_pixels": 7}, "vae_patch_pixels: must divide 256 of image_size 256, got 7"),
        ({"block_size": 2.0}, "block_size: expected a whole number from 1 to 65536, got 2.0"),
        ({"block_size": 128}, "block_size: must be a square, 4, 16, ..., got 128"),
        ({"ar_len": 16}, "ar_len: must make a grid of [32, 32] with block_size, got 16 of block_size 256"),
        ({"num_frames": 16}, "num_frames: only models of images can be imported, got 16"),
        ({"nd_split": "2_1_1"}, "nd_split: expected a number for rows and one for columns, as 1_1, got '2_1_1'"),
        ({"nd_split": [1, 1]}, "nd_split: expected a number for rows and one for columns, as 1_1, got [1, 1]"),
        ({"nd_split": "0_1"}, "nd_split: must be from 1 to 64, got 0"),
    ],
)
def test_args_that_cannot_be_are_named(other: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ACDiT().informed(ARGS | other)


def test_a_split_that_a_head_cannot_have_is_named() -> None:
    family, generator = tiny(0, normed=True)
    published = family.names(generator).published(generator.state_dict())
    shapes = Shapes({name: tuple(value.shape) for name, value in published.items()})
    told = ACDiT(grid=[2, 2], block=[2, 2], nd_split=(1, 4))
    with pytest.raises(ValueError, match=r"nd_split: a head of \d channels .*, but a multiple of 10, got \[1, 4\]"):
        told.generator(shapes, generator.tokenizer.module)
    with pytest.raises(ValueError, match=r"nd_split: expected a number for rows and one for columns, got \[1, 2, 3\]"):
        ACDiT(nd_split=(1, 2, 3))
    with pytest.raises(ValueError, match=r"^num_steps: must be from 1 to 1000, got 0"):
        ACDiT(num_steps=0)


def test_released_sizes() -> None:
    """Blocks of 256 of 1024 tokens, drawn in 25 steps of second order."""
    assert set(ACDiT.presets) == set(ACDiT.widths) == {"xl", "h"}
    assert ACDiT(**ACDiT.presets["h"]).spec() == ACDiT(grid=[32, 32], block=[16, 16]).spec()  # type: ignore[arg-type]
