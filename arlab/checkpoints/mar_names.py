"""What MAR, FlowAR and xAR share: two stages of blocks with a linear map between them, and tables of places.

FlowAR and xAR share more: blocks modulated by the class, with rotary positions and GELU-gated feed-forward layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from torch.nn import functional as F

from arlab.backbones.attention import Attention
from arlab.backbones.encoder_decoder import EncoderDecoder
from arlab.backbones.feed_forward import Activation, GatedMLP
from arlab.backbones.modulation import AdaLN
from arlab.backbones.norms import RMSNorm
from arlab.backbones.places import Places
from arlab.backbones.rotary import Rotary
from arlab.checkpoints.names import BOTH, Rule, renamed
from arlab.checkpoints.shapes import Shapes
from arlab.tokenizers.tokenizer import Tokenizer

DROPOUT = 0.1
"""While training; all of them were trained with it."""
ATTENTION = {"attn.qkv": "attention.qkv", "attn.proj": "attention.out"}
GATED = {"mlp.fc1_g": "gate", "mlp.fc1_x": "up", "mlp.fc2": "down"}
TIME = {"time_embed.mlp.0": "time.mlp.0", "time_embed.mlp.2": "time.mlp.2"}
ROTARY_TABLES = r"\.rope\.freqs(_cos|_sin)?$"

_NORMS = {"z_proj_ln": "backbone.in_norm", "encoder_norm": "backbone.encoder_norm", "decoder_norm": "backbone.norms.0"}
_EPS = 1e-6


# ---- names


def stage_names(backbone: EncoderDecoder, block: Mapping[str, str], norms: Sequence[str]) -> Iterator[Rule]:
    """Rules of both stages.

    Args:
        backbone: ours.
        block: their names within a block, and ours; with weights and biases.
        norms: what the norms around the stages have.
    """
    yield from renamed(_NORMS, norms)
    yield from renamed({"decoder_embed": "backbone.between"}, BOTH)
    for name in _blocks(backbone):
        yield from renamed({f"{name}.{theirs}": f"backbone.{name}.{ours}" for theirs, ours in block.items()}, BOTH)


def gated_stage_names(backbone: EncoderDecoder) -> Iterator[Rule]:
    """Rules of both stages of FlowAR and xAR."""
    block = ATTENTION | {theirs: f"feed_forward.{ours}" for theirs, ours in GATED.items()}
    yield from stage_names(backbone, block, ("weight",))
    modulation = {f"{name}.ada_lin.1": f"backbone.conditioning.blocks.{i}" for i, name in enumerate(_blocks(backbone))}
    yield from renamed(modulation, BOTH)


def _blocks(backbone: EncoderDecoder) -> list[str]:
    depths = {"encoder": backbone.num_encoder_layers, "decoder": backbone.num_decoder_layers}
    return [f"{stage}_blocks.{layer}" for stage, depth in depths.items() for layer in range(depth)]


def of_tokens(theirs: str, ours: str, num_condition: int) -> Rule:
    """A table of places that is published for tokens alone; nothing looks at those of condition slots behind them."""
    return Rule(
        (theirs,),
        (ours,),
        lambda value: (F.pad(value[0], (0, 0, 0, num_condition)),),
        lambda table: (table[None, : len(table) - num_condition],),
    )


# ---- shapes


def linear(shapes: Shapes, name: str) -> tuple[int, int]:
    """How many numbers leave and enter a linear map, or stand in a table: the shape of its weights.

    Raises:
        ValueError: there is no such tensor, or it is no matrix.
    """
    out, into = shapes.axes(f"{name}.weight", 2)
    return out, into


def depths(shapes: Shapes) -> tuple[int, int]:
    """Blocks of the first stage and of the second."""
    return shapes.count("encoder_blocks.{}.attn.qkv.weight"), shapes.count("decoder_blocks.{}.attn.qkv.weight")


def gated_backbone(
    shapes: Shapes, *, num_heads: int, rotary: Rotary, out_places: list[Places] | None = None
) -> EncoderDecoder:
    """The backbone of FlowAR and xAR.

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
        ValueError: nothing tells, or other heads were given than the table tells.
    """
    name = f"{block}.attn.rope.freqs"
    told = width // max(1, 4 * shapes.size(name)) if name in shapes else 0
    if given < 0 or not (told or given or usual):
        raise ValueError(f"its tensors do not tell {key}; give --set {key}=... of at least 1, got {given}")
    if told and given and told != given:
        raise ValueError(f"{key}: {name} is of {told} heads, got {given}")
    return told or given or usual


def refuse_patches(shapes: Shapes, tokenizer: Tokenizer) -> None:
    """See that what is fed at a place is one vector of the tokenizer.

    Raises:
        ValueError: it is several, or of another width.
    """
    fed, width = linear(shapes, "z_proj")[1], tokenizer.space.width
    side = math.isqrt(fed // width)
    if fed != width and fed == width * side * side:
        raise ValueError(
            f"patch_size: z_proj.weight takes {side} x {side} vectors of {width} numbers at a place; only releases "
            "of patch_size 1 can be imported"
        )
    if fed != width:
        raise ValueError(f"z_proj.weight takes vectors of {fed} numbers, its tokenizer's are of {width}")
