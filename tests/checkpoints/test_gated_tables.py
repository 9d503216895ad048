"""Tables that FlowAR and xAR hold beside their weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from arlab.checkpoints.gated_tables import refuse_frequencies, refuse_mask, refuse_turns

NAME = "encoder_blocks.1.attn.rope.freqs"


def frequencies(base: float, number: int = 16) -> Tensor:
    return 1 / base ** (torch.arange(0, 2 * number, 2) / (2 * number))


def check(table: Tensor, base: float = 10000.0) -> None:
    refuse_frequencies(
        {NAME: table, "decoder_blocks.0.attn.rope.freqs": torch.zeros(3)},
        "encoder_blocks.",
        head_width=64,
        base=base,
        heads_key="num_heads",
        base_key="rope_base",
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_frequencies_may_be_rounded(dtype: torch.dtype) -> None:
    check(frequencies(10000).to(dtype))


def test_frequencies_of_other_options_name_them() -> None:
    with pytest.raises(ValueError, match=rf"^rope_base: {NAME} is of a base of about 10000, got 500$"):
        check(frequencies(10000), base=500)
    with pytest.raises(ValueError, match=rf"^rope_base: {NAME} is of no such base, got 10000$"):
        check(torch.zeros(16))
    with pytest.raises(ValueError, match=rf"^num_heads: {NAME} is of shape \(8,\), heads of 64 numbers have 16 freq"):
        check(frequencies(10000, 8))


def test_a_mask_tells_steps() -> None:
    mask = torch.zeros(1, 1, 6, 6)
    mask[0, 0, :2, 2:] = mask[0, 0, 2:5, 5:] = -torch.inf
    for dtype in (torch.float32, torch.float16):
        refuse_mask({"mask": mask.to(dtype)}, [2, 3, 1], "cells", 3)
    with pytest.raises(
        ValueError, match=r"^cells: its mask is of 3 steps \(2, 3, 1 slots\), got 1, which makes 1 step "
    ):
        refuse_mask({"mask": mask}, [6], "cells", 1)
    with pytest.raises(ValueError, match=r"which makes 9 steps \(1, 1, 1, 1, 1, \.\.\. slots\)$"):
        refuse_mask({"mask": mask}, [1] * 9, "cells", 3)


def test_what_is_not_there_tells_nothing() -> None:
    refuse_mask({}, [2], "cells", 1)
    refuse_mask({"mask": torch.zeros(0)}, [2], "cells", 1)
    refuse_turns({}, torch.zeros(2, 2), "rows", 1)


def test_turns_are_compared_pair_by_pair() -> None:
    angle_NP = torch.tensor([[0.0, 1.0], [0.5, 2.0]])
    both_NE = angle_NP.repeat_interleave(2, 1)
    refuse_turns({f"{NAME}_cos": both_NE.cos().half(), f"{NAME}_sin": both_NE.sin()}, angle_NP, "rows", 1)
    for other in (both_NE.flip(0).cos(), torch.cat((angle_NP, angle_NP), 1).cos(), both_NE[:1].cos()):
        with pytest.raises(ValueError, match=rf"^rows: its {NAME}_cos turns tokens otherwise than 1 does$"):
            refuse_turns({f"{NAME}_cos": other}, angle_NP, "rows", 1)
