"""What ACDiT's training writes beside its weights: the options it was called with."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from arlab.checkpoints.family import MOST_TOKENS

_GRID = ("image_size", "vae_patch_pixels", "patch_size")


def told_by(args: Mapping[str, object]) -> dict[str, list[int]]:
    """Those of grid, block and nd_split that are told.

        grid = image_size / vae_patch_pixels / patch_size, both sides;  block = √block_size, both sides

    Raises:
        ValueError: naming what is no number, or none that could be; images are not what it was trained on.
    """
    if "num_frames" in args and _count(args, "num_frames") != 1:
        raise ValueError(f"num_frames: only models of images can be imported, got {args['num_frames']}")
    told: dict[str, list[int]] = {}
    if all(key in args for key in _GRID):
        side = _count(args, "image_size")
        for key in _GRID[1:]:
            if side % _count(args, key):
                raise ValueError(f"{key}: must divide {side} of image_size {args['image_size']}, got {args[key]}")
            side //= _count(args, key)
        told["grid"] = [side, side]
    if "block_size" in args:
        tokens = _count(args, "block_size")
        side = math.isqrt(tokens)
        if side * side != tokens:
            raise ValueError(f"block_size: must be a square, 4, 16, ..., got {tokens}")
        told["block"] = [side, side]
    _refuse_other_blocks(args, told)
    if args.get("nd_split") is not None:
        told["nd_split"] = _shares(args["nd_split"])
    return told


def _refuse_other_blocks(args: Mapping[str, object], told: Mapping[str, object]) -> None:
    """See that the blocks are as many as the grid has."""
    if {"grid", "block"} <= told.keys() and "ar_len" in args:
        tokens = _count(args, "ar_len") * _count(args, "block_size")
        if told["grid"] != [math.isqrt(tokens)] * 2 or math.isqrt(tokens) ** 2 != tokens:
            blocks = f"{args['ar_len']} of block_size {args['block_size']}"
            raise ValueError(f"ar_len: must make a grid of {told['grid']} with block_size, got {blocks}")


def _count(args: Mapping[str, object], key: str) -> int:
    value = args[key]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_TOKENS:
        raise ValueError(f"{key}: expected a whole number from 1 to {MOST_TOKENS}, got {value!r}")
    return value


def _shares(value: object) -> list[int]:
    """'1_1' as numbers."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,4}_\d{1,4}", value, re.ASCII):
        raise ValueError(f"nd_split: expected a number for rows and one for columns, as 1_1, got {value!r}")
    return [int(share) for share in value.split("_")]
