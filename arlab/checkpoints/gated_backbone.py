"""The backbone of FlowAR and xAR: MAR's two stages, of blocks that the class modulates.

Their places are rotary, their feed-forward layers gated by GELU.
"""

from __future__ import annotations

from collections.abc import Iterator

from arlab.backbones.attention import Attention
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.feed_forward import Activation, GatedMLP
from arlab.backbones.modulation import AdaLN
from arlab.backbones.norms import RMSNorm
from arlab.backbones.places import Places
from arlab.backbones.rotary import Rotary
from arlab.checkpoints.mar_names import ATTENTION, blocks_of, stage_names
from arlab.checkpoints.mar_shapes import DROPOUT, depths, linear
from arlab.checkpoints.names import BOTH, Rule, renamed
from arlab.checkpoints.shapes import Shapes

GATED = {"mlp.fc1_g": "gate", "mlp.fc1_x": "up", "mlp.fc2": "down"}

_EPS = 1e-6


def gated_backbone(
    shapes: Shapes, *, num_heads: int, rotary: Rotary, out_places: list[Places] | None = None
) -> EncoderDecoder:
    """The backbone that published tensors are of.

    Args:
        shapes: of the published tensors.
        num_heads: of attention; 0: as the tables of rotary positions tell.
        rotary: its positions.
        out_places: tables added to what leaves.

    Raises:
        ValueError: a tensor is missing, the heads do not divide the width or are others than the tables tell.
    """
    hidden, width = linear(shapes, "encoder_blocks.0.mlp.fc1_g")
    first, second = depths(shapes)
    return EncoderDecoder(
        width=width,
        num_encoder_layers=first,
        num_decoder_layers=second,
        attention=Attention(
            num_heads=rotary_heads(shapes, "encoder_blocks.0", width, "num_heads", num_heads),
            qkv_bias=True,
            out_bias=True,
        ),
        feed_forward=GatedMLP(ratio=hidden / width, multiple_of=1, activation=Activation.GELU, bias=True),
        norm=RMSNorm(eps=_EPS, affine=False),
        stage_norm=RMSNorm(eps=_EPS),
        rotary=rotary,
        out_places=out_places,
        modulation=AdaLN(zero_init=False, final=False),
        dropout=DROPOUT,
    )


def gated_stage_names(backbone: EncoderDecoder) -> Iterator[Rule]:
    """Rules of both stages."""
    block = ATTENTION | {theirs: f"feed_forward.{ours}" for theirs, ours in GATED.items()}
    yield from stage_names(backbone, block, ("weight",))
    names = blocks_of(backbone)
    modulation = {f"{name}.ada_lin.1": f"backbone.conditioning.blocks.{layer}" for layer, name in enumerate(names)}
    yield from renamed(modulation, BOTH)


def rotary_heads(shapes: Shapes, block: str, width: int, key: str, given: int, usual: int = 0) -> int:
    """How many heads there are: a head has four channels for each frequency of its table of rotary positions.

    Args:
        shapes: of the published tensors.
        block: whose heads.
        width: of all heads together.
        key: the option.
        given: its value; 0: none.
        usual: how many there are where there is no such table and none were given; 0: unknown.

    Raises:
        ValueError: nothing tells, other heads were given than the table tells, or they do not divide the width.
    """
    name = f"{block}.attn.rope.freqs"
    told = width // max(1, 4 * shapes.size(name)) if name in shapes else 0
    heads = told or given or usual
    if heads < 1:
        raise ValueError(f"its tensors do not tell {key}; give --set {key}=... of at least 1, got {given}")
    if told and given and told != given:
        raise ValueError(f"{key}: {name} is of {told} heads, got {given}")
    # A pair of numbers, which is turned, for each of two axes.
    if width % (4 * heads):
        raise ValueError(f"{key}: must divide a width of {width} into multiples of 4, got {heads}")
    return heads
