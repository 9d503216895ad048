"""FlowAR's released weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.feed_forward import Activation, GatedMLP
from arlab.backbones.modulation import AdaLN
from arlab.backbones.norms import RMSNorm
from arlab.backbones.rotary import IdentityRotation
from arlab.backbones.spanned_rotary import SpannedRotary
from arlab.checkpoints.flowar import FlowAR
from arlab.checkpoints.importing import Found, import_released
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.cli.main import main
from arlab.data.facts import DataFacts
from arlab.generators.generator import Generator
from arlab.heads.flow import FlowHead
from arlab.heads.step_blocks import CrossBlock, ModulatedBlock
from arlab.heads.step_transformer import StepTransformer
from arlab.heads.time_grids import EvenTimes
from arlab.heads.two_pace_times import TwoPaceTimes
from arlab.orderings.next_scale import NextScale
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder
from tests.checkpoints.given_tokens import GivenTokens
from tests.checkpoints.laws import SEEDS, dice, round_trip

TABLES = frozenset(f"backbone.{name}_places.0.table" for name in ("encoder", "decoder", "out"))


def configuration(seed: int, token_width: int | None = None) -> tuple[FlowAR, Generator]:
    rng = dice(seed)
    num_heads, flow_heads, guided_until = rng.choice([1, 2, 3]), rng.choice([1, 2]), rng.choice([0.7, 0.9, 1.0])
    width, num_steps, span = num_heads * rng.choice([4, 8]), rng.choice([10, 24, 50]), rng.choice([3.0, 16.0])
    truncate_time = rng.random() < 0.5
    scales: list[int | list[int]] = rng.choice([[1, 2, 4], [1, 3], [[1, 1], [1, 2], [3, 4]], [2, [4, 2]]])
    height, broad = [scales[-1]] * 2 if isinstance(scales[-1], int) else scales[-1]
    grid = GivenTokens(
        grid=(height, broad),
        width=rng.randint(1, 6) if token_width is None else token_width,
        num_classes=rng.randint(2, 9),
    )
    generator = Generator(
        tokenizer=grid,
        ordering=NextScale(patch_nums=scales),
        backbone=EncoderDecoder(
            width=width,
            num_encoder_layers=rng.randint(1, 3),
            num_decoder_layers=rng.randint(1, 3),
            attention=Attention(num_heads=num_heads, qkv_bias=True, out_bias=True),
            feed_forward=GatedMLP(
                ratio=rng.randint(5, 90) / width, multiple_of=1, activation=Activation.GELU, bias=True
            ),
            norm=RMSNorm(eps=1e-6, affine=False),
            stage_norm=RMSNorm(eps=1e-6),
            rotary=SpannedRotary(span=span, nowhere=IdentityRotation()),
            modulation=AdaLN(zero_init=False, final=False),
            dropout=0.1,
        ),
        head=FlowHead(
            denoiser=StepTransformer(
                width=flow_heads * rng.choice([8, 12]),
                num_blocks=rng.randint(1, 3),
                num_heads=flow_heads,
                block=[ModulatedBlock(), CrossBlock()][seed % 2],
                truncate_time=truncate_time,
                span=span,
            ),
            times={
                10: TwoPaceTimes(num_early=5, num_late=6),
                24: TwoPaceTimes(),
                50: EvenTimes(num_steps=50),
            }[num_steps],
            guided_until=guided_until,
        ),
        ema_decay=0,
    )
    family = FlowAR(
        scales=scales,
        num_heads=num_heads,
        flow_heads=flow_heads,
        num_steps=num_steps,
        guided_until=guided_until,
        truncate_time=truncate_time,
        rope_span=span,
    )
    return family, generator


@pytest.mark.parametrize("seed", range(2 * len(SEEDS)))
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    round_trip(*configuration(seed), tmp_path, in_part=TABLES)


def imported(tensors: dict[str, Tensor], family: FlowAR, generator: Generator) -> Generator:
    made = import_released(Found(Path("flowar.pth"), family, tensors), generator.tokenizer.module)
    assert isinstance(made, Generator)
    return made


def test_heads_are_told_by_tables_of_rotary_positions() -> None:
    family, generator = configuration(0)
    backbone, head = generator.backbone, generator.head
    assert isinstance(backbone, EncoderDecoder)
    assert isinstance(head.network, StepTransformer)  # type: ignore[attr-defined]
    flow = head.network
    tensors = family.names(generator).published(generator.state_dict())
    family.num_heads = family.flow_heads = 0
    with pytest.raises(ValueError, match=r"flowar\.pth: its tensors do not tell num_heads"):
        imported(tensors, family, generator)
    for name, head_width in (
        ("encoder_blocks", backbone.attention.head_width(backbone.width)),
        ("flownet.res_blocks", flow.width // flow.num_heads),
    ):
        pairs = head_width // 4
        tensors[f"{name}.0.attn.rope.freqs"] = 10000.0 ** -(torch.arange(pairs) / pairs)
    assert imported(tensors, family, generator).spec() == generator.spec()
    tensors["flownet.res_blocks.0.attn.rope.freqs"] /= 2
    with pytest.raises(ValueError, match=r"flowar\.pth: theta: flownet\.res_blocks\.0\.attn\.rope\.freqs is of "):
        imported(tensors, family, generator)


def test_scales_are_asked_for_and_must_be_those_of_the_tables() -> None:
    family, generator = configuration(0)
    tensors = family.names(generator).published(generator.state_dict())
    with pytest.raises(ValueError, match=r"do not tell scales; give --set scales=\.\.\., or .* --preset s\|l\|h"):
        imported(tensors, FlowAR(), generator)
    with pytest.raises(ValueError, match=r"scales: diffusion_pos_embed_learned is of \d+ places, \[1, 2\] have 5"):
        imported(tensors, FlowAR(scales=[1, 2]), generator)
    with pytest.raises(ValueError, match="scales: every side must be at least 1, got 0"):
        FlowAR(scales=[0])


def test_scales_are_those_of_the_mask() -> None:
    family, generator = next(each for each in map(configuration, range(50)) if each[0].scales == [1, 2, 4])
    tensors = family.names(generator).published(generator.state_dict())
    step_N = torch.arange(3).repeat_interleave(torch.tensor([1, 4, 16]))
    tensors["mask"] = torch.where(step_N[:, None] >= step_N, 0.0, -torch.inf)[None, None]
    assert imported(tensors, family, generator).spec() == generator.spec()
    tensors["mask"] = torch.zeros(1, 1, 21, 21)
    with pytest.raises(ValueError, match=r"scales: its mask is of 1 step \(21 slots\), got \[1, 2, 4\], which makes 3"):
        imported(tensors, family, generator)


def test_slots_before_the_first_scale_are_refused() -> None:
    family, generator = configuration(0)
    tensors = family.names(generator).published(generator.state_dict())
    tensors["encoder_pos_embed_learned"] = tensors["encoder_pos_embed_learned"].repeat(1, 2, 1)
    with pytest.raises(ValueError, match=r"buffer_size: only files of buffer_size 0 can be imported, got \d+"):
        imported(tensors, family, generator)


@pytest.mark.parametrize("num_steps", [-2, 0, 2, 25, 10002])
def test_steps_are_even(num_steps: int) -> None:
    with pytest.raises(ValueError, match=f"^num_steps: must be an even number from 4 to 10000, got {num_steps}; the"):
        FlowAR(num_steps=num_steps)


def test_files_become_a_run_that_draws(tmp_path: Path) -> None:
    """A model of 4 x 4 vectors and a tokenizer under it, both of random weights."""
    family, generator = next(
        (family, generator)
        for family, generator in (configuration(seed, token_width=4) for seed in range(50))
        if family.scales == [1, 2, 4]
    )
    autoencoder = VQGANAutoencoder(channels=32, channel_multipliers=[1, 1], decoder_blocks=1)
    tokenizer = KLTokenizer(facts=DataFacts("imagenet", 3, (8, 8)), autoencoder=autoencoder, token_width=4)
    torch.save({"model_ema": family.names(generator).published(generator.state_dict())}, tmp_path / "flowar.pth")
    torch.save({"model": LDMKL().names(tokenizer).published(tokenizer.state_dict())}, tmp_path / "kl16.ckpt")
    files = [str(tmp_path / name) for name in ("flowar.pth", "kl16.ckpt")]
    settings = [
        "scales=[1,2,4]",
        f"num_heads={family.num_heads}",
        f"flow_heads={family.flow_heads}",
        "num_steps=4",
        "scale=0.2325",
    ]
    run = str(tmp_path / "run")
    assert main(["import", *files, "--family", "flowar", "--set", *settings, "--out", run]) == 0
    assert main(["sample", run, "--num_images", "2", "--out", str(tmp_path / "drawn.png")]) == 0
