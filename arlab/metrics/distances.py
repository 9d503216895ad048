"""Distances between two sets of images that stay meaningful where there are few images or many features.

Letters: N images, D features, K kept axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from arlab.metrics.generation import FULL_FID, frechet_distance

PRINCIPAL = 64
"""Features beyond this number are projected on so many principal axes before a covariance is estimated of them."""
_BLOCK = 1000


@dataclass(frozen=True)
class Frechet:
    """A Fréchet distance and the name it may go by.

    Attributes:
        name: 'rFID' with 10,000 images, 'rFID@N' below; 'rFID_pca64' and 'rFID_pca64@N' on principal axes.
        value: in squared feature units.
    """

    name: str
    value: float


def reconstruction_frechet(real_ND: Tensor, reconstructed_ND: Tensor) -> Frechet | None:
    """Fréchet distance between images and their reconstructions, under a name that says what it was taken of.

    More than 64 features are projected on the 64 principal axes of the real ones first: the distance of 1,280 raw
    features means nothing below 10,000 images. None where there are too few images for that, or fewer than two.
    """
    count, width = real_ND.shape
    if count <= (PRINCIPAL if width > PRINCIPAL else 1):
        return None
    name = "rFID"
    if width > PRINCIPAL:
        mean_D, axes_DK = principal_axes(real_ND, PRINCIPAL)
        real_ND, reconstructed_ND = ((set_ND.double() - mean_D) @ axes_DK for set_ND in (real_ND, reconstructed_ND))
        name = f"rFID_pca{PRINCIPAL}"
    return Frechet(name if count >= FULL_FID else f"{name}@{count}", frechet_distance(real_ND, reconstructed_ND))


def principal_axes(feature_ND: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) and the ``kept`` axes (D, K) of largest variance, orthonormal, of features, in float64."""
    feature_ND = feature_ND.double()
    mean_D = feature_ND.mean(0)
    _, axes_DD = torch.linalg.eigh((feature_ND - mean_D).T.cov())
    return mean_D, axes_DD[:, -kept:].flip(1)


def kernel_distance(real_ND: Tensor, reconstructed_ND: Tensor) -> float:
    """Kernel distance between images and their reconstructions, unbiased at any number of images.

    1 / (N (N - 1)) Σ_{i ≠ j} k(x_i, x_j) + k(y_i, y_j) - k(x_i, y_j) - k(x_j, y_i), k(a, b) = (a · b / D + 1)³; over
    blocks of 1,000 images, their mean. A pair of an image and its own reconstruction never counts, so equal sets are
    at distance 0.

    Demystifying MMD GANs (KID), arXiv 1801.01401.

    Raises:
        ValueError: there are fewer than two images.
    """
    if len(real_ND) < 2:
        raise ValueError(f"KID: needs at least 2 images a set, got {len(real_ND)}")
    blocks = -(-len(real_ND) // _BLOCK)
    pairs = zip(real_ND.double().chunk(blocks), reconstructed_ND.double().chunk(blocks), strict=True)
    each = [_kernel_distance(real_ND, reconstructed_ND) for real_ND, reconstructed_ND in pairs]
    return sum(each) / len(each)


def _kernel_distance(x_ND: Tensor, y_ND: Tensor) -> float:
    def kernel(a_ND: Tensor, b_ND: Tensor) -> Tensor:
        return (a_ND @ b_ND.T / a_ND.shape[1] + 1) ** 3

    cross_NN = kernel(x_ND, y_ND)
    all_NN = kernel(x_ND, x_ND) + kernel(y_ND, y_ND) - cross_NN - cross_NN.T
    count = len(x_ND)
    return float(all_NN.sum() - all_NN.trace()) / (count * (count - 1))
