"""PAR (arXiv 2412.15119): LlamaGen's backbone on the regions of a grid at once, learned vectors in between."""

from __future__ import annotations

from collections.abc import Iterable

from arlab.backbones.transformer import Transformer
from arlab.checkpoints.llama_family import LlamaFamily
from arlab.checkpoints.llama_names import MARKS
from arlab.checkpoints.names import Rule, same
from arlab.checkpoints.shapes import Shapes, square
from arlab.orderings.region_parallel import RegionParallel

_SPECIAL = "spe_tok_embeddings.special_embeddings.weight"
# Heads and width. 3B comes with 4 regions and with 16; the tensors tell which.
_SIZES = {"xl_4x": (20, 1280), "xxl_4x": (24, 1536), "3b_4x": (32, 3200), "3b_16x": (32, 3200)}
PRESETS = {f"{size}_384": {"num_heads": num_heads, "grid": [24, 24]} for size, (num_heads, _) in _SIZES.items()}
WIDTHS = {f"{size}_384": width for size, (_, width) in _SIZES.items()}


class PAR(LlamaFamily):
    """Class-conditional PAR, XL to 3B, 4 or 16 tokens at a time.

    Parallelized Autoregressive Visual Generation (PAR), arXiv 2412.15119.

    Args:
        num_heads: of attention; the released sizes have width / 64, 3B has 32 of 100.
        grid: tokens along height and width; 24 for 384 pixels.
        regions: along height and width; by default as many along the one as along the other, as published: the
            number of learned vectors is one less than that of regions.
        rope_base: base of the rotary positions.
        norm_eps: added to mean squares.
    """

    marks = (*MARKS, _SPECIAL)
    presets = PRESETS
    widths = WIDTHS

    def __init__(
        self,
        *,
        num_heads: int | None = None,
        grid: list[int] | None = None,
        regions: tuple[int, ...] = (),
        rope_base: float = 10000.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(num_heads=num_heads, grid=grid, rope_base=rope_base, norm_eps=norm_eps)
        if regions and (len(regions) != 2 or min(regions) < 1):
            raise ValueError(f"regions: expected [high, wide] of at least 1, got {list(regions)}")
        self.regions = regions

    def ordering(self, shapes: Shapes) -> RegionParallel:
        told = shapes.axes(_SPECIAL, 2)[0] + 1
        regions = self.regions or square(told, "regions, to be given as regions=[high,wide]")
        grid = self.token_grid(shapes)
        if any(side % count for side, count in zip(grid, regions, strict=True)):
            raise ValueError(f"regions: {list(regions)} do not divide a grid of {list(grid)}")
        if regions[0] * regions[1] != told:
            raise ValueError(
                f"regions: expected {told} in all, one more than {_SPECIAL} has vectors, got {list(regions)}"
            )
        return RegionParallel(regions=regions)

    def rules(self, backbone: Transformer) -> Iterable[Rule]:
        return (same(_SPECIAL, "slot_embedding.learned_RD"),)
