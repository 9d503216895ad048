"""Precision, recall, density and coverage: sets of features as unions of balls around their members.

A ball reaches from a member to its k-th nearest other member, rim included.

Letters: N real images, M generated ones, D features, S parts of the generated ones, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from arlab.metrics.pairwise import blocks, distances

DENSITY_K = 5
"""Of density and coverage, as published."""
PRECISION_K = 3
"""Of precision and recall, as published."""
# Neighbours kept of each image. Of its 64 nearest, a random half holds fewer than k + 1 about never.
_LISTED = 64


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: generated images that look real, real images that are covered."""

    precision: float
    recall: float


def precision_recall(real_ND: Tensor, generated_MD: Tensor, k: int = PRECISION_K) -> PrecisionRecall:
    """Share of each set that lies within the manifold of the other.

    The manifold of a set is the union of balls around its members, each reaching to its k-th nearest neighbour.

    Improved Precision and Recall Metric for Assessing Generative Models, arXiv 1904.06991.

    Raises:
        ValueError: a set has no k-th neighbour.
    """
    precision_1, recall_1 = precisions_recalls(real_ND, generated_MD, _all(generated_MD), k)
    return PrecisionRecall(float(precision_1), float(recall_1))


def precisions_recalls(
    real_ND: Tensor, generated_MD: Tensor, part_SM: Tensor, k: int = PRECISION_K
) -> tuple[Tensor, Tensor]:
    """``precision_recall`` of parts of the generated images with all real ones, (S,) each.

    Args:
        real_ND: features of real images.
        generated_MD: features of generated images.
        part_SM: bool, which of them are in each part.
        k: of the neighbour that a ball reaches to.

    Raises:
        ValueError: a set or a part has no k-th neighbour.
    """
    fewest = min(len(generated_MD), int(part_SM.sum(1).min()))
    if min(len(real_ND), fewest) <= k:
        raise ValueError(f"precision and recall: need at least {k + 1} images a set, got {len(real_ND)} and {fewest}")
    within_M = torch.zeros(len(generated_MD), dtype=torch.bool)
    found_S = torch.zeros(len(part_SM), dtype=torch.float64)
    reach_SM = _part_radii(generated_MD, part_SM, k)
    furthest_M = reach_SM.amax(0)
    for radius_B, distance_BM in _from_real(real_ND, generated_MD, k):
        within_M |= (distance_BM <= radius_B[:, None]).any(0)
        # Few pairs are within reach in any part, so that a part costs little more.
        real_P, generated_P = (distance_BM <= furthest_M).nonzero(as_tuple=True)
        distance_P = distance_BM[real_P, generated_P]
        for part, reach_M in enumerate(reach_SM):
            found_S[part] += real_P[distance_P <= reach_M[generated_P]].unique().numel()
    return _share(within_M.double(), part_SM), found_S / len(real_ND)


def densities_coverages(
    real_ND: Tensor, generated_MD: Tensor, part_SM: Tensor, k: int = DENSITY_K
) -> tuple[Tensor, Tensor]:
    """Density and coverage of parts of the generated images, (S,) each.

    density = 1 / (k M) Σ_j number of real balls that hold y_j; above 1 where images crowd where real ones are dense.
    coverage = share of real balls that hold a generated image.

    Reliable Fidelity and Diversity Metrics for Generative Models, arXiv 2002.09797.

    Args:
        real_ND: features of real images.
        generated_MD: features of generated images.
        part_SM: bool, which of them are in each part.
        k: of the neighbour that a ball reaches to.

    Raises:
        ValueError: the real images have no k-th neighbour, or a part is empty.
    """
    fewest = min(len(generated_MD), int(part_SM.sum(1).min()))
    if len(real_ND) <= k or fewest < 1:
        raise ValueError(
            f"density and coverage: need at least {k + 1} real images and a generated one, "
            f"got {len(real_ND)} and {fewest}"
        )
    times_M = torch.zeros(len(generated_MD), dtype=torch.float64)
    found_S = torch.zeros(len(part_SM), dtype=torch.float64)
    for radius_B, distance_BM in _from_real(real_ND, generated_MD, k):
        inside_BM = distance_BM <= radius_B[:, None]
        times_M += inside_BM.sum(0)
        real_P, generated_P = inside_BM.nonzero(as_tuple=True)
        for part, is_in_M in enumerate(part_SM):
            found_S[part] += real_P[is_in_M[generated_P]].unique().numel()
    return _share(times_M, part_SM) / k, found_S / len(real_ND)


def _from_real(real_ND: Tensor, generated_MD: Tensor, k: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Of some real images at a time, the radii of their balls and their distances to all generated ones."""
    for real_BD in blocks(real_ND, max(len(real_ND), len(generated_MD))):
        # Every image is its own nearest at distance 0, so the k-th other one is the (k + 1)-th.
        nearest_BK = distances(real_BD, real_ND).topk(k + 1, largest=False).values
        yield nearest_BK[:, k], distances(real_BD, generated_MD)


def _part_radii(member_MD: Tensor, part_SM: Tensor, k: int) -> Tensor:
    """Radii of the balls of each part, (S, M); -1 for images that are not in it."""
    listed = min(_LISTED, len(member_MD))
    lists = [distances(each, member_MD).topk(listed, largest=False) for each in blocks(member_MD, len(member_MD))]
    distance_ML, neighbour_ML = torch.cat([each.values for each in lists]), torch.cat([each.indices for each in lists])
    radius_SM = torch.full(part_SM.shape, -1.0)
    for radius_M, is_in_M in zip(radius_SM, part_SM, strict=True):
        rank_ML = is_in_M[neighbour_ML].cumsum(1)
        is_known_M = rank_ML[:, -1] > k
        place_M = (rank_ML > k).int().argmax(1)
        radius_M.copy_(distance_ML.gather(1, place_M[:, None])[:, 0].where(is_in_M, radius_M))
        for row in (is_in_M & ~is_known_M).nonzero()[:, 0]:
            radius_M[row] = distances(member_MD[row, None], member_MD[is_in_M])[0].kthvalue(k + 1).values
    return radius_SM


def _share(of_image_M: Tensor, part_SM: Tensor) -> Tensor:
    """Mean over each part."""
    return part_SM.double() @ of_image_M / part_SM.sum(1)


def _all(feature_MD: Tensor) -> Tensor:
    return torch.ones(1, len(feature_MD), dtype=torch.bool)
