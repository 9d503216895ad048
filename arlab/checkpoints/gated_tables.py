"""Tables that FlowAR and xAR hold beside their weights: frequencies of rotary positions, and who sees whom.

Letters: N slots, F frequencies of an axis, P pairs of adjacent channels of a head.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from arlab.rotation import frequencies

TABLES = (r"\.rope\.freqs(_cos|_sin)?$", r"^mask$")
"""What they are called."""
# Of a table that was kept in half precision.
_ERROR = 1e-2
_MASK = "mask"
# Of the sizes of steps, in a message.
_MOST_DIGITS = 30
_SHOWN = 5


def refuse_frequencies(
    tensors: Mapping[str, Tensor], stage: str, *, head_width: int, base: float, heads_key: str, base_key: str
) -> None:
    """See that all blocks whose names begin so turn by base^(-j / F), j from 0 on.

    Args:
        tensors: the published ones.
        stage: what the names begin with.
        head_width: of attention.
        base: of the rotary positions.
        heads_key: the option that tells heads.
        base_key: the option that tells the base.

    Raises:
        ValueError: one does not; the option and the table are named.
    """
    own_F = frequencies(head_width // 4, base, torch.device("cpu"))
    for name in (name for name in tensors if name.startswith(stage) and name.endswith(".rope.freqs")):
        theirs_F = tensors[name].float()
        if theirs_F.shape != own_F.shape:
            raise ValueError(
                f"{heads_key}: {name} is of shape {tuple(theirs_F.shape)}, heads of {head_width} numbers have "
                f"{len(own_F)} frequencies"
            )
        if not torch.allclose(theirs_F, own_F, rtol=_ERROR, atol=1e-7):
            raise ValueError(f"{base_key}: {name} is of {_base(theirs_F)}, got {base:g}")


def _base(theirs_F: Tensor) -> str:
    """Of which base frequencies are, roughly."""
    ratio = float(theirs_F[1] / theirs_F[0]) if len(theirs_F) > 1 else 0.0
    exponent = -len(theirs_F) * math.log10(ratio) if 0 < ratio < 1 else math.inf
    # Of half precision three digits are left.
    return f"a base of about {float(f'{10**exponent:.3g}'):g}" if exponent < _MOST_DIGITS else "no such base"


def refuse_mask(tensors: Mapping[str, Tensor], sizes: Sequence[int], key: str, given: object) -> None:
    """See that slots are fed in steps of these sizes, where the file tells: each sees its own step and those before.

    Args:
        tensors: the published ones.
        sizes: how many slots each step feeds.
        key: the option that tells them.
        given: its value.

    Raises:
        ValueError: they are not.
    """
    if _MASK not in tensors or tensors[_MASK].dim() != 4 or not tensors[_MASK].numel():
        return
    seen_NN = tensors[_MASK][0, 0] == 0
    step_N = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    own_NN = step_N[:, None] >= step_N
    if seen_NN.shape != own_NN.shape or not bool((seen_NN == own_NN).all()):
        until = [0, *seen_NN.sum(-1).unique().tolist()]
        theirs = [after - before for before, after in itertools.pairwise(until)]
        raise ValueError(f"{key}: its {_MASK} is of {_steps(theirs)}, got {given}, which makes {_steps(sizes)}")


def _steps(sizes: Sequence[int]) -> str:
    first = ", ".join(map(str, sizes[:_SHOWN])) + ", ..." * (len(sizes) > _SHOWN)
    return f"{len(sizes)} step{'s' * (len(sizes) != 1)} ({first} slots)"


def refuse_turns(tensors: Mapping[str, Tensor], angle_NP: Tensor, key: str, given: object) -> None:
    """See that cosines and sines, where the file has them, are of these angles; each stands twice.

    Args:
        tensors: the published ones.
        angle_NP: of every pair of a head.
        key: the option that tells them.
        given: its value.

    Raises:
        ValueError: they are not; the table is named.
    """
    own = {"cos": angle_NP.cos().repeat_interleave(2, -1), "sin": angle_NP.sin().repeat_interleave(2, -1)}
    for name, value in tensors.items():
        turns = re.search(r"\.rope\.freqs_(cos|sin)$", name)
        if turns is None:
            continue
        if value.shape != own[turns[1]].shape or not torch.allclose(value.float(), own[turns[1]], atol=_ERROR):
            raise ValueError(f"{key}: its {name} turns tokens otherwise than {given} does")
