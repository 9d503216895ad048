"""What codebooks take from a training batch, over all processes of a distributed run.

Letters: C vector width, V codebook size, T vectors of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.rng import mix_seed
from arlab.tokenizers.processes import from_first_, summed


def hits(ids_T: Tensor, codebook_size: int, dtype: torch.dtype) -> Tensor:
    """How often each code was chosen, over all processes, (V,)."""
    return summed(torch.bincount(ids_T, minlength=codebook_size).to(dtype))


def pick(z_TC: Tensor, number: int, seed: int, step: int) -> Tensor:
    """Vectors of this batch, different ones where there are enough; the first process's on all of them.

    Which ones is a function of (seed, step), so that a resumed run picks the same.
    """
    generator = torch.Generator().manual_seed(mix_seed(seed, step))
    rows = torch.randperm(len(z_TC), generator=generator)
    rows = rows.repeat(-(-number // len(rows)))[:number]
    picked_VC = z_TC[rows.to(z_TC.device)]
    from_first_([picked_VC])
    return picked_VC
