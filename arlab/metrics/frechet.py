"""Fréchet distance of two sets of features, under a name that says what it was taken of.

Letters: N real images, M generated or reconstructed ones, D features, K kept axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.image.fid import FrechetInceptionDistance

from arlab.metrics.given import Given

FULL_FID = 10_000
"""With fewer images than this the distance is named FID@N: it falls with N, so only equal N compare."""
PRINCIPAL = 64
"""With fewer images, more features than this are projected on so many principal axes first."""


@dataclass(frozen=True)
class Frechet:
    """A Fréchet distance and the name it may go by.

    Attributes:
        name: 'FID', 'FID@N', 'FID_pca64@N'; of reconstructions 'rFID', 'rFID@N', 'rFID_pca64', 'rFID_pca64@N'.
        value: in squared feature units.
    """

    name: str
    value: float


@dataclass(frozen=True)
class Comparable:
    """Features as a Fréchet distance is taken of them.

    Attributes:
        name: of that distance.
        real_ND: of real images.
        generated_MD: of generated ones.
    """

    name: str
    real_ND: Tensor
    generated_MD: Tensor


def frechet_distance(real_ND: Tensor, generated_MD: Tensor) -> float:
    """Squared Fréchet distance between Gaussians fitted to two sets of features, in float64.

    |μ - ν|² + tr(Σ + Ω - 2 (Σ Ω)^½), covariances with N - 1.

    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, arXiv 1706.08500.

    Raises:
        ValueError: a set has fewer than two vectors.
    """
    _refuse_few(real_ND, generated_MD)
    metric = FrechetInceptionDistance(feature=Given(real_ND.shape[1]))
    metric.update(real_ND.double(), real=True)
    metric.update(generated_MD.double(), real=False)
    return float(metric.compute())


class FrechetTo:
    """``frechet_distance`` of many sets to one, whose root is taken once: |μ - ν|² + tr(Σ + Ω) - 2 tr (Σ^½ Ω Σ^½)^½.

    torchmetrics takes the eigenvalues of the product Σ Ω, which is not symmetric, anew for each set: 10 times as long.

    Args:
        real_ND: the one set.
    """

    def __init__(self, real_ND: Tensor) -> None:
        self.mean_D, self.covariance_DD = _moments(real_ND)
        value_D, axes_DD = torch.linalg.eigh(self.covariance_DD)
        self.root_DD = (axes_DD * value_D.clamp(min=0).sqrt()) @ axes_DD.T

    def __call__(self, generated_MD: Tensor) -> float:
        """The distance of a set.

        Raises:
            ValueError: it has fewer than two vectors.
        """
        _refuse_few(generated_MD, generated_MD)
        mean_D, covariance_DD = _moments(generated_MD)
        product_DD = self.root_DD @ covariance_DD @ self.root_DD
        root_trace = torch.linalg.eigvalsh((product_DD + product_DD.T) / 2).clamp(min=0).sqrt().sum()
        means = (self.mean_D - mean_D).square().sum()
        return float(means + self.covariance_DD.trace() + covariance_DD.trace() - 2 * root_trace)


def comparable(real_ND: Tensor, generated_MD: Tensor) -> Comparable | None:
    """Features of real and generated images as an FID is taken of them, and the name it then has.

    N is the number of images of the smaller set. From 10,000 on the distance is 'FID'. Below it is 'FID@N', and more
    than 64 features are projected on the 64 principal axes of the real ones: 'FID_pca64@N'. None where the real images
    are too few for that, or either set has fewer than two.
    """
    fewest = min(len(real_ND), len(generated_MD))
    if fewest >= FULL_FID:
        return Comparable("FID", real_ND, generated_MD)
    wide = real_ND.shape[1] > PRINCIPAL
    if fewest < 2 or (wide and len(real_ND) <= PRINCIPAL):
        return None
    if not wide:
        return Comparable(f"FID@{fewest}", real_ND, generated_MD)
    mean_D, axes_DK = principal_axes(real_ND, PRINCIPAL)
    real_NK, generated_MK = ((set_ND.double() - mean_D) @ axes_DK for set_ND in (real_ND, generated_MD))
    return Comparable(f"FID_pca{PRINCIPAL}@{fewest}", real_NK, generated_MK)


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


def _moments(feature_ND: Tensor) -> tuple[Tensor, Tensor]:
    feature_ND = feature_ND.double()
    # Of a single feature, cov gives a number.
    return feature_ND.mean(0), feature_ND.T.cov().reshape(feature_ND.shape[1], -1)


def _refuse_few(real_ND: Tensor, generated_MD: Tensor) -> None:
    if min(len(real_ND), len(generated_MD)) < 2:
        raise ValueError(f"FID: needs at least 2 images a set, got {len(real_ND)} and {len(generated_MD)}")
