"""The table of rotary positions that releases with LlamaGen's backbone may hold beside their weights.

Letters: N tokens, E half the width of a head, T rows of the table.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.checkpoints.llama_names import TURNS
from arlab.orderings.step import Layout
from arlab.rotation import angles

# Of a table that was kept in half precision.
_ERROR = 1e-2


def refuse_turns(turns_TE2: Tensor, *, width: int, num_heads: int, grid: tuple[int, int], rope_base: float) -> None:
    """See that cosines and sines are those of these options; of another form than the published it tells nothing.

    Args:
        turns_TE2: of conditions (zeros), then of the tokens.
        width: of the backbone.
        num_heads: of attention.
        grid: tokens along height and width.
        rope_base: base of the rotary positions.

    Raises:
        ValueError: they are not; the option is named.
    """
    if turns_TE2.dim() != 3 or not turns_TE2.numel() or turns_TE2.shape[-1] != 2:
        return
    head_width = 2 * turns_TE2.shape[1]
    if head_width * num_heads != width:
        raise ValueError(
            f"num_heads: its {TURNS} is for heads of {head_width} numbers, {width // head_width} of a width of "
            f"{width}; got {num_heads}"
        )
    # Conditions and what is learned stand nowhere, and have zeros.
    turns_NE2 = turns_TE2[turns_TE2.float().square().sum((1, 2)) > 0].float()
    if len(turns_NE2) != grid[0] * grid[1]:
        raise ValueError(f"grid: its {TURNS} is of {len(turns_NE2)} tokens, got {list(grid)}")
    angle_NE = angles(Layout((grid,)).place_NA, head_width, rope_base)
    own_NE2 = torch.stack((angle_NE.cos(), angle_NE.sin()), -1)
    # PAR's tokens come in another order.
    if not torch.allclose(turns_NE2.sort(0).values, own_NE2.sort(0).values, atol=_ERROR):
        raise ValueError(
            f"rope_base: its {TURNS} is of another base or another grid of as many tokens, got {rope_base}"
        )
