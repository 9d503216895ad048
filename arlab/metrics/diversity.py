"""How different images of one class are from each other, in units of how different real ones are.

Letters: N real images, M generated ones, D features, S parts of the generated ones, K classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from arlab.metrics.pairwise import blocks, distances


def diversities(
    real_ND: Tensor, real_label_N: Tensor, generated_MD: Tensor, label_M: Tensor, part_SM: Tensor
) -> Tensor:
    """Diversity of parts of the generated images, (S,): 0 where a class is one image, 1 where it is as varied as real.

    mean over classes of E|x - x'| for two different generated images of a class, divided by the same of real images.

    Classes that have fewer than two images on either side are left out on both; NaN where none is left, or all real
    images of a class are the same one. Images without classes, all labelled 0, are one class.

    Args:
        real_ND: features of real images.
        real_label_N: their classes.
        generated_MD: features of generated images.
        label_M: their classes.
        part_SM: bool, which of the generated images are in each part.
    """
    spread_SK, of_real_K = [], []
    for label in real_label_N.unique():
        is_real_N, is_generated_M = real_label_N == label, label_M == label
        everyone_1N = torch.ones(1, int(is_real_N.sum()), dtype=torch.bool)
        of_real_K.append(_mean_distances(real_ND[is_real_N], everyone_1N))
        spread_SK.append(_mean_distances(generated_MD[is_generated_M], part_SM[:, is_generated_M]))
    of_generated_SK = torch.stack(spread_SK, 1)
    of_real_1K = torch.stack(of_real_K, 1)
    known_SK = of_generated_SK.isfinite() & of_real_1K.isfinite()
    ratio_S = of_generated_SK.where(known_SK, 0).sum(1) / of_real_1K.where(known_SK, 0).sum(1)
    return ratio_S.masked_fill(~ratio_S.isfinite(), torch.nan)


def _mean_distances(feature_ND: Tensor, part_SN: Tensor) -> Tensor:
    """Mean distance between two different images of each part, (S,); NaN where there are not two."""
    weight_NS = part_SN.T.double()
    total_S = weight_NS.new_zeros(len(part_SN))
    first = 0
    for each_BD in blocks(feature_ND, len(feature_ND)):
        distance_BN = distances(each_BD, feature_ND).double()
        total_S += (distance_BN @ weight_NS * weight_NS[first : first + len(each_BD)]).sum(0)
        first += len(each_BD)
    size_S = weight_NS.sum(0)
    return (total_S / (size_S * (size_S - 1))).masked_fill(size_S < 2, torch.nan)
