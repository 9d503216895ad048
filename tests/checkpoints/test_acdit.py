"""ACDiT's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP
from arlab.backbones.mixed_axes import MixedAxes
from arlab.backbones.noised_modulation import NoisedOnly
from arlab.backbones.norms import NoQKNorm, NormedQK, RMSNorm
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.acdit import ACDiT
from arlab.checkpoints.sd_kl import SDKL
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import ratio_of
from arlab.cli.main import main
from arlab.data.facts import DataFacts
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.diffusion import DiffusionHead
from arlab.heads.diffusion_samplers import DDIM
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


def tiny(seed: int, *, normed: bool) -> tuple[ACDiT, Generator]:
    rng = dice(seed)
    # Only the norm of queries tells the width of a head; without it is always 64.
    num_heads, head_width = (rng.choice([1, 2, 3]), rng.choice([4, 8])) if normed else (rng.choice([1, 2]), 64)
    width, norm_eps, num_steps = num_heads * head_width, rng.choice([1e-5, 1e-6]), rng.randint(2, 30)
    grid, block = (rng.randint(1, 5), rng.randint(1, 5)), [rng.randint(1, 3), rng.randint(1, 3)]
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
            rotary=MixedAxes(),
            modulation=NoisedOnly(),
        ),
        head=DiffusionHead(
            denoiser=BackboneDenoiser(),
            schedule=LinearSchedule(),
            target=PredictsNoise(),
            variance=SmallVariance(),
            sampler=DDIM(),
            num_steps=num_steps,
        ),
        conditioner=ClassLabel(num_slots=0),
        ema_decay=0,
    )
    return ACDiT(grid=list(grid), block=block, num_steps=num_steps, norm_eps=norm_eps), generator


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, normed: bool, tmp_path: Path) -> None:
    round_trip(*tiny(seed, normed=normed), tmp_path)


def test_with_its_tokenizer_it_draws_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Imported by the command, sampled by the command; latents have Stable Diffusion's scale."""
    monkeypatch.chdir(tmp_path)
    _, generator = tiny(3, normed=True)
    height, width = generator.layout.finest
    tokenizer = KLTokenizer(
        facts=DataFacts("imagenet", 3, (8 * height, 8 * width)),
        autoencoder=VQGANAutoencoder(channels=32, channel_multipliers=[1, 1, 1, 1], attention=AttentionLevels()),
        token_width=generator.tokenizer.space.width,
    )
    released = ACDiT().names(generator).published(generator.state_dict())
    save_file({name: value.contiguous() for name, value in released.items()}, "acdit.safetensors")
    released = SDKL().names(tokenizer).published(tokenizer.state_dict())
    save_file({name: value.contiguous() for name, value in released.items()}, "vae.safetensors")
    told = ["--family", "acdit", "--set", f"grid=[{height},{width}]", "block=[2,2]", "num_steps=2", "--out", "run"]
    assert main(["import", "acdit.safetensors", "vae.safetensors", *told]) == 0
    imported = load_model("run", Generator).tokenizer.module
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
