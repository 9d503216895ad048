"""Bands of frequencies: which belong together, as masks over the coefficients of a map.

Letters: L bands, A axes, S sides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from arlab.configurable import Configurable


class BandShape(Configurable, ABC):
    """What 'below an edge' means for frequencies on several axes."""

    @abstractmethod
    def size(self, f_AS: Tensor) -> Tensor:
        """The size of frequencies given by their sizes along each axis, (A, *S) to (*S)."""


class Square(BandShape):
    """The largest over the axes, up to 1: a band is a square frame, and what a coarser grid expresses a square."""

    def __init__(self) -> None:
        pass

    def size(self, f_AS: Tensor) -> Tensor:
        return f_AS.amax(0)


class Radial(BandShape):
    """The Euclidean length, up to √A in the corner of A axes: a band is a ring."""

    def __init__(self) -> None:
        pass

    def size(self, f_AS: Tensor) -> Tensor:
        return f_AS.square().sum(0).sqrt()


def band_masks(shape: BandShape, f_AS: Tensor, edges_KA: Tensor) -> Tensor:
    """The bands that K edges make, (K + 1, *S) bool: each frequency lies in exactly one of them.

    M_l = size(f / e_l) < 1 and in no band before;  the last takes all that is left. So Σ_l M_l = 1.

    Args:
        shape: says how the axes count together.
        f_AS: frequencies along each axis, (A, *S).
        edges_KA: the upper edges of all bands but the last, along each axis.
    """
    taken_S = torch.zeros(f_AS.shape[1:], dtype=torch.bool, device=f_AS.device)
    bands = []
    for edge_A in edges_KA:
        inside_S = shape.size(f_AS / edge_A.view(-1, *(1,) * (f_AS.dim() - 1))) < 1
        bands.append(inside_S & ~taken_S)
        taken_S = taken_S | inside_S
    masks_LS = torch.stack([*bands, ~taken_S])
    assert bool((masks_LS.sum(0) == 1).all())
    return masks_LS
