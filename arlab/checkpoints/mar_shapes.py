"""What tensors and options of MAR, FlowAR and xAR tell alike."""

from __future__ import annotations

import math
from collections.abc import Mapping

from arlab.checkpoints.shapes import Shapes
from arlab.tokenizers.tokenizer import Tokenizer

DROPOUT = 0.1
"""While training; all of them were trained with it."""


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


def copies(shapes: Shapes) -> int:
    """How many slots of the class stand in front of the tokens: MAR's and FlowAR's ``buffer_size``."""
    return shapes.size("encoder_pos_embed_learned", 1) - shapes.size("diffusion_pos_embed_learned", 1)


def refuse_other_vectors(shapes: Shapes, tokenizer: Tokenizer) -> None:
    """See that what is fed at a place is one vector of the tokenizer.

    Raises:
        ValueError: it is of another width, or several.
    """
    fed, width = linear(shapes, "z_proj")[1], tokenizer.space.width
    if fed == width:
        return
    side = math.isqrt(fed // width)
    patches = f"; or it is of patch_size {side}, which cannot be imported" if fed == width * side * side else ""
    raise ValueError(
        f"z_proj.weight takes vectors of {fed} numbers, its tokenizer's are of {width}; name its own tokenizer{patches}"
    )


def refuse_patches(args: Mapping[str, object]) -> None:
    """See that what a training script was called with feeds one vector at a place.

    Raises:
        ValueError: it is several.
    """
    side = args.get("patch_size", 1)
    if side != 1:
        raise ValueError(f"patch_size: only files of patch_size 1 can be imported, got {side}")
