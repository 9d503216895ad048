"""xAR's released weights."""

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
from arlab.backbones.rotary import AxialRotary
from arlab.checkpoints.importing import Found, import_released
from arlab.checkpoints.xar import XAR
from arlab.generators.conditioners import ClassLabel
from arlab.generators.generator import Generator
from arlab.heads.backbone_denoiser import BackboneDenoiser
from arlab.heads.euler_maruyama import EulerMaruyama
from arlab.heads.even_then_last import EvenThenLast
from arlab.heads.flow import FlowHead
from arlab.heads.time_draws import LogitNormalTime
from arlab.orderings.entities import Cells
from arlab.orderings.next_x import NextX
from tests.checkpoints.given_tokens import GivenTokens
from tests.checkpoints.laws import SEEDS, dice, round_trip


def configuration(seed: int) -> tuple[XAR, Generator]:
    rng = dice(seed)
    num_heads, cells, num_steps = rng.choice([1, 2, 3]), rng.choice([1, 2, 3]), rng.randint(1, 60)
    width, rope_base, truncate_time = num_heads * rng.choice([4, 8]), rng.choice([100.0, 10000.0]), rng.random() < 0.5
    rows = rng.randint(3, 6)
    generator = Generator(
        tokenizer=GivenTokens(grid=(rows, rng.randint(3, 6)), width=rng.randint(1, 6), num_classes=rng.randint(1, 9)),
        ordering=NextX(entities=Cells(count=cells)),
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
            rotary=AxialRotary(base=rope_base),
            out_places=[],
            modulation=AdaLN(zero_init=False, final=False),
            dropout=0.1,
        ),
        head=FlowHead(
            denoiser=BackboneDenoiser(truncate_time=truncate_time, zero_init=False),
            time_draw=LogitNormalTime(),
            solver=EulerMaruyama(),
            times=EvenThenLast(num_steps=num_steps),
        ),
        conditioner=ClassLabel(num_slots=0),
        ema_decay=0,
    )
    family = XAR(
        num_heads=num_heads,
        cells=cells,
        num_steps=num_steps,
        rope_base=rope_base,
        truncate_time=truncate_time,
        rows=rows,
    )
    return family, generator


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    round_trip(*configuration(seed), tmp_path)


def test_places_are_published_cell_after_cell() -> None:
    """On 4 x 4 tokens the second cell of 2 x 2 begins with token 2, whose place is published fifth."""
    generator = configuration(0)[1]
    place_ND = torch.arange(16.0)[:, None].expand(-1, generator.backbone.width)
    family = XAR(cells=2)
    square = Generator(
        tokenizer=GivenTokens(grid=(4, 4)),
        ordering=NextX(),
        backbone=generator.backbone,
        head=generator.head,
        conditioner=generator.conditioner,
    )
    ours = square.state_dict() | {"backbone.encoder_places.0.table": place_ND}
    published = family.names(square).published(ours)["encoder_pos_embed_learned"][0, :, 0]
    assert published.tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]


def imported(tensors: dict[str, Tensor], family: XAR, generator: Generator) -> Generator:
    made = import_released(Found(Path("xar.pth"), family, tensors), generator.tokenizer.module)
    assert isinstance(made, Generator)
    return made


def test_heads_are_told_by_tables_of_rotary_positions() -> None:
    family, generator = configuration(1)
    tensors = family.names(generator).published(generator.state_dict())
    family.num_heads = 0
    with pytest.raises(ValueError, match=r"xar\.pth: its tensors do not tell num_heads; give --set num_heads=\.\.\."):
        imported(tensors, family, generator)
    backbone = generator.backbone
    assert isinstance(backbone, EncoderDecoder)
    pairs = backbone.attention.head_width(backbone.width) // 4
    tensors["encoder_blocks.0.attn.rope.freqs"] = family.rope_base ** -(torch.arange(pairs) / pairs)
    assert imported(tensors, family, generator).backbone.spec() == backbone.spec()
    family.num_heads = 5
    with pytest.raises(ValueError, match=r"num_heads: encoder_blocks\.0\.attn\.rope\.freqs is of \d heads, got 5"):
        imported(tensors, family, generator)


def test_tables_of_other_cells_or_places_are_refused() -> None:
    family, generator = configuration(0)
    cells = generator.ordering.split(generator.layout)  # type: ignore[attr-defined]
    step_N = torch.arange(len(cells)).repeat_interleave(torch.tensor([len(cell) for cell in cells]))
    tensors = family.names(generator).published(generator.state_dict())
    tensors["mask"] = torch.where(step_N[:, None] >= step_N, 0.0, -torch.inf)[None, None]
    backbone = generator.backbone
    assert isinstance(backbone, EncoderDecoder)
    pairs = backbone.attention.head_width(backbone.width) // 4
    row_N, column_N = generator.layout.place_NA[torch.cat(cells)].unbind(1)
    frequency_F = family.rope_base ** -(torch.arange(pairs) / pairs)
    angle_NE = torch.cat([place_N[:, None] * frequency_F for place_N in (row_N, column_N)], 1).repeat_interleave(2, 1)
    name = "decoder_blocks.0.attn.rope.freqs"
    tensors |= {name: frequency_F, f"{name}_cos": angle_NE.cos(), f"{name}_sin": angle_NE.sin()}
    assert imported(tensors, family, generator).spec() == generator.spec()
    with pytest.raises(ValueError, match=rf"rows: its {name}_sin turns tokens otherwise than a grid of "):
        imported(tensors | {f"{name}_sin": angle_NE.flip(0).sin()}, family, generator)
    family.cells += 1
    with pytest.raises(ValueError, match=rf"cells: its mask is of {len(cells)} steps \(.*, got {family.cells}, which"):
        imported(tensors, family, generator)
