"""What codebooks take from a training batch, over all processes of a distributed run.

Letters: C vector width, V codebook size, T vectors of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.rng import mix_seed
from arlab.tokenizers.processes import from_first_, summed


def occurrences(ids: Tensor, codebook_size: int) -> Tensor:
    """How often each code occurs among indices of any shape, (V,) int64."""
    # Not bincount, which asks an accelerator for the largest index.
    ids_T = ids.flatten()
    return ids_T.new_zeros(codebook_size).index_add_(0, ids_T, torch.ones_like(ids_T))


def hits(ids_T: Tensor, codebook_size: int, dtype: torch.dtype) -> Tensor:
    """How often each code was chosen, over all processes, (V,)."""
    return summed(occurrences(ids_T, codebook_size).to(dtype))


def pick(z_TC: Tensor, number: int, seed: int, step: int) -> Tensor:
    """Vectors of this batch, different ones where there are enough; the first process's on all of them.

    Which ones is a function of (seed, step), so that a resumed run picks the same.
    """
    generator = torch.Generator().manual_seed(mix_seed(seed, step))
    rows = torch.randperm(len(z_TC), generator=generator)
    rows = rows.repeat(-(-number // len(rows)))[:number]
    picked_VC = z_TC[rows.to(z_TC.device, non_blocking=True)]
    from_first_([picked_VC])
    return picked_VC
