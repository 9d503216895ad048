"""LlamaGen (arXiv 2406.06525): tokens one after the other in raster order."""

from __future__ import annotations

from arlab.checkpoints.llama_names import MARKS
from arlab.checkpoints.llama_texts import LlamaTexts
from arlab.checkpoints.shapes import Shapes
from arlab.orderings.raster import Raster

_SIZES = {"b": (12, 768), "l": (16, 1024), "xl": (20, 1280), "xxl": (24, 1536), "3b": (32, 3200)}
"""Heads and width."""
_RELEASED = [
    *((f"{size}_{16 * side}", size, side) for size in _SIZES for side in (16, 24)),
    *((f"t2i_xl_{16 * side}", "xl", side) for side in (16, 32)),
]
PRESETS = {name: {"num_heads": _SIZES[size][0], "grid": [side, side]} for name, size, side in _RELEASED}
WIDTHS = {name: _SIZES[size][1] for name, size, _ in _RELEASED}


class LlamaGen(LlamaTexts):
    """LlamaGen of classes, B to 3B, and of texts: of prompts that a file names, with their embeddings.

    Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation (LlamaGen), arXiv 2406.06525.

    Args:
        num_heads: of attention; the released sizes have width / 64, 3B has 32 of 100.
        grid: tokens along height and width; 16 for 256 pixels, 24 for 384.
        captions: of a text-conditional model the file of prompts and their embeddings; of others none.
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.
    """

    marks = MARKS
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        grid: list[int] | None = None,
        captions: str = "",
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(num_heads=num_heads, grid=grid, captions=captions, rope_base=rope_base, norm_eps=norm_eps)

    def ordering(self, shapes: Shapes) -> Raster:
        return Raster()
