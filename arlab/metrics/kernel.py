"""Kernel distance (KID) of two sets of features: squared maximum mean discrepancy of the kernel (x · y / D + 1)³.

Demystifying MMD GANs, arXiv 1801.01401.

Letters: N real images, M generated ones, D features, S parts of the generated ones.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.image.kid import KernelInceptionDistance, poly_kernel

from arlab.metrics.given import Given
from arlab.metrics.pairwise import blocks

_BLOCK = 1000


def kernel_distance(
    real_ND: Tensor, generated_MD: Tensor, *, subset_size: int = 200, subsets: int = 100, seed: int = 0
) -> tuple[float, float]:
    """KID as it is published: mean and standard deviation over random subsets.

    Unbiased: it does not depend on how many images there are, and may be below 0. The deviation is that of one subset,
    not of the mean.

    Args:
        real_ND: features of real images.
        generated_MD: features of generated images.
        subset_size: images of each set in a subset, at most as many as there are in either.
        subsets: how many.
        seed: of the subsets.

    Raises:
        ValueError: a set has fewer than two vectors.
    """
    _refuse_few(real_ND, generated_MD)
    metric = KernelInceptionDistance(
        feature=Given(real_ND.shape[1]),
        subsets=subsets,
        subset_size=min(subset_size, len(real_ND), len(generated_MD)),
    )
    metric.update(real_ND.double(), real=True)
    metric.update(generated_MD.double(), real=False)
    # The subsets are drawn from torch's global random numbers.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def kernel_distances(real_ND: Tensor, generated_MD: Tensor, part_SM: Tensor) -> Tensor:
    """KID of parts of the generated images to all real ones, (S,), unbiased; NaN for a part of fewer than two.

    1 / (N (N - 1)) Σ_{i ≠ j} k(x_i, x_j) + 1 / (M (M - 1)) Σ_{i ≠ j} k(y_i, y_j) - 2 / (N M) Σ k(x_i, y_j).

    Over all pairs, not over random subsets of equal size as torchmetrics does it: of those the result depends on the
    draw. Each kernel is taken once for all parts. Unbiased for images drawn independently; in a set that holds equally
    many images of each class, two different ones share a class less often, and the distance of two sets of real images
    is a little below 0.

    Args:
        real_ND: features of real images.
        generated_MD: features of generated images.
        part_SM: bool, which of them are in each part.

    Raises:
        ValueError: a set has fewer than two vectors.
    """
    _refuse_few(real_ND, generated_MD)
    real_ND, generated_MD, weight_MS = real_ND.double(), generated_MD.double(), part_SM.T.double()
    among_real = sum(float(poly_kernel(each_BD, real_ND).sum()) for each_BD in blocks(real_ND, len(real_ND)))
    among_real -= float(_own(real_ND).sum())
    cross_M = real_ND.new_zeros(len(generated_MD))
    for real_BD in blocks(real_ND, len(generated_MD)):
        cross_M += poly_kernel(real_BD, generated_MD).sum(0)
    # A generated image's kernel with itself is left out.
    among_S = -(_own(generated_MD) @ weight_MS)
    first = 0
    for each_BD in blocks(generated_MD, len(generated_MD)):
        weight_BS = weight_MS[first : first + len(each_BD)]
        among_S += (poly_kernel(each_BD, generated_MD) @ weight_MS * weight_BS).sum(0)
        first += len(each_BD)
    size_S = weight_MS.sum(0)
    N = len(real_ND)
    distance_S = (
        among_real / (N * (N - 1)) + among_S / (size_S * (size_S - 1)) - 2 * (cross_M @ weight_MS) / (N * size_S)
    )
    return distance_S.masked_fill(size_S < 2, torch.nan)


def paired_kernel_distance(real_ND: Tensor, reconstructed_ND: Tensor) -> float:
    """Kernel distance between images and their reconstructions, unbiased at any number of images.

    1 / (N (N - 1)) Σ_{i ≠ j} k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i); over blocks of 1,000 images, their
    mean. A pair of an image and its own reconstruction never counts, so equal sets are at distance 0. torchmetrics
    counts such pairs.

    Raises:
        ValueError: there are fewer than two images.
    """
    if len(real_ND) < 2:
        raise ValueError(f"KID: needs at least 2 images a set, got {len(real_ND)}")
    num_blocks = -(-len(real_ND) // _BLOCK)
    pairs = zip(real_ND.double().chunk(num_blocks), reconstructed_ND.double().chunk(num_blocks), strict=True)
    each = [_paired(real_ND, reconstructed_ND) for real_ND, reconstructed_ND in pairs]
    return sum(each) / len(each)


def _paired(x_ND: Tensor, y_ND: Tensor) -> float:
    cross_NN = poly_kernel(x_ND, y_ND)
    all_NN = poly_kernel(x_ND, x_ND) + poly_kernel(y_ND, y_ND) - cross_NN - cross_NN.T
    count = len(x_ND)
    return float(all_NN.sum() - all_NN.trace()) / (count * (count - 1))


def _own(feature_ND: Tensor) -> Tensor:
    """Of each vector the kernel with itself."""
    return (feature_ND.square().sum(1) / feature_ND.shape[1] + 1) ** 3


def _refuse_few(real_ND: Tensor, generated_MD: Tensor) -> None:
    if min(len(real_ND), len(generated_MD)) < 2:
        raise ValueError(f"KID: needs at least 2 images a set, got {len(real_ND)} and {len(generated_MD)}")
