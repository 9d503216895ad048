"""What VAR's and FlexVAR's tensors tell of the backbone."""

from __future__ import annotations

from collections.abc import Sequence

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP
from arlab.backbones.modulation import AdaLN, SharedAdaLN
from arlab.backbones.norms import L2QKNorm, LayerNorm, NoQKNorm
from arlab.backbones.places import Places
from arlab.backbones.rotary import NoRotary
from arlab.backbones.transformer import Transformer
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import ratio_of
from arlab.checkpoints.var_names import SHARED

_SCALE = "blocks.0.attn.scale_mul_1H11"
_INSIDE = "blocks.{}.ffn.fc1.weight"
_HEAD_WIDTH = 64
# Of the softmax where queries and keys are not normalised: 0.25 / √(width of a head).
_PLAIN_FACTOR = 0.25


def var_backbone(shapes: Shapes, *, num_heads: int, norm_eps: float, places: Sequence[Places]) -> Transformer:
    """The backbone: depth, widths, l2-norm of queries and keys and kind of adaLN are the tensors'.

    Args:
        shapes: of the published tensors.
        num_heads: of attention; 0: as the tensors tell, or one for each 64 of the width.
        norm_eps: of the layer norms.
        places: what is added to the input.

    Raises:
        ValueError: a tensor is missing, or the number of heads contradicts them or does not divide the width.
    """
    hidden, width = shapes.size(_INSIDE.format(0)), shapes.size(_INSIDE.format(0), 1)
    depth = shapes.count(_INSIDE)
    normed = _SCALE in shapes
    return Transformer(
        width=width,
        num_layers=depth,
        attention=Attention(
            num_heads=_heads(shapes, num_heads, width),
            qk_norm=L2QKNorm() if normed else NoQKNorm(factor=_PLAIN_FACTOR),
            qkv_bias=True,
            out_bias=True,
        ),
        feed_forward=MLP(ratio=ratio_of(hidden, width)),
        norm=LayerNorm(eps=norm_eps, affine=False),
        rotary=NoRotary(),
        places=list(places),
        modulation=SharedAdaLN() if f"{SHARED}.weight" in shapes else AdaLN(),
        # As all of them were trained; in arlab below 1, as it must be.
        drop_path=min(0.1 * depth / 24, 0.99),
    )


def _heads(shapes: Shapes, num_heads: int, width: int) -> int:
    if _SCALE not in shapes:
        heads = num_heads or max(1, width // _HEAD_WIDTH)
        if width % heads:
            raise ValueError(f"num_heads: must divide a width of {width}, got {heads}")
        return heads
    told = shapes.size(_SCALE, 1)
    if num_heads not in (0, told):
        raise ValueError(f"num_heads: {num_heads}, but its {_SCALE} is of {told} heads")
    return told
