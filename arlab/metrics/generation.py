"""How good and how varied generated images are, in the features of a classifier.

Letters: N real images, M generated images, D features, C image channels, H and W image sides.
"""

from __future__ import annotations

import dataclasses
import json
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from arlab.data.stream import Images
from arlab.features.classifier import FeatureClassifier, agreement
from arlab.metrics.protocol import Protocol

FULL_FID = 10_000
"""With fewer images than this the distance is named FID@N: it falls with N, so only equal N compare."""


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: generated images that look real, real images that are covered."""

    precision: float
    recall: float


@dataclasses.dataclass(frozen=True)
class GenerationFigures:
    """Figures of one set of generated images.

    Attributes:
        agreement: share of generated images that the classifier assigns to the class asked for.
        real_agreement: the same of the real images, the ceiling to read ``agreement`` against.
        frechet: squared Fréchet distance of the two sets of features, in squared feature units.
        precision: share of generated images within the manifold of real ones.
        recall: share of real images within the manifold of generated ones.
        num_real: N.
        num_generated: M.
        protocol: how they were made and measured.
    """

    agreement: float
    real_agreement: float
    frechet: float
    precision: float
    recall: float
    num_real: int
    num_generated: int
    protocol: Protocol

    @property
    def fid_name(self) -> str:
        """'FID', or 'FID@N' with the smaller number of images below 10,000."""
        fewest = min(self.num_real, self.num_generated)
        return "FID" if fewest >= FULL_FID else f"FID@{fewest}"

    def to_json(self) -> str:
        """One JSON object; the distance stands under its full name, the protocol under ``protocol``."""
        figures = {self.fid_name if key == "frechet" else key: value for key, value in dataclasses.asdict(self).items()}
        return json.dumps(figures, indent=2)


def evaluate_generation(
    network: FeatureClassifier, real: Images, generated: Images, protocol: Protocol
) -> GenerationFigures:
    """Agreement, Fréchet distance, precision and recall of generated images against real ones.

    Args:
        network: the feature network, in evaluation mode.
        real: uint8 images with their classes.
        generated: uint8 images with the classes asked for.
        protocol: how the images were made; their number and the feature network are written into it.

    Raises:
        ValueError: the images are not 8-bit, do not fit the network, or are fewer than k + 1.
    """
    for name, images in (("real", real), ("generated", generated)):
        if images.levels != 256:
            raise ValueError(f"{name} images: must have 256 intensity levels, got {images.levels}")
    real_read, generated_read = network.read(real.pixel_NCHW), network.read(generated.pixel_NCHW)
    precision, recall = precision_recall(real_read.feature_BD, generated_read.feature_BD)
    return GenerationFigures(
        agreement=agreement(generated_read.logits_BK, generated.label_N),
        real_agreement=agreement(real_read.logits_BK, real.label_N),
        frechet=frechet_distance(real_read.feature_BD, generated_read.feature_BD),
        precision=precision,
        recall=recall,
        num_real=len(real),
        num_generated=len(generated),
        protocol=dataclasses.replace(
            protocol,
            num_images=len(generated),
            feature_network=network.name,
            feature_hash=network.weights_hash,
        ),
    )


def real_anchor(network: FeatureClassifier, real: Images, other: Images, split: str) -> GenerationFigures:
    """What a perfect generator would get: a second set of real images, measured as if it had been generated.

    Args:
        network: the feature network.
        real: the real images that generated ones are compared with.
        other: other real images, as many as will be generated.
        split: names both, such as 'test against train'.
    """
    return evaluate_generation(network, real, other, Protocol(split=split))


def frechet_distance(real_ND: Tensor, generated_MD: Tensor) -> float:
    """Squared Fréchet distance between Gaussians fitted to two sets of features, in float64.

    |μ - ν|² + tr(Σ + Ω - 2 (Σ Ω)^½), covariances with N - 1.

    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium, arXiv 1706.08500.

    Raises:
        ValueError: a set has fewer than two vectors.
    """
    if min(len(real_ND), len(generated_MD)) < 2:
        raise ValueError(f"FID: needs at least 2 images a set, got {len(real_ND)} and {len(generated_MD)}")
    # Features are given, not images: precision and recall need them too, and the network should run once.
    metric = FrechetInceptionDistance(feature=_Given(real_ND.shape[1]))
    metric.update(real_ND.double(), real=True)
    metric.update(generated_MD.double(), real=False)
    return float(metric.compute())


class _Given(nn.Identity):
    """Features that were computed before, in the place of a network."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def kernel_distance(
    real_ND: Tensor, generated_MD: Tensor, *, subset_size: int = 200, subsets: int = 100, seed: int = 0
) -> tuple[float, float]:
    """Squared maximum mean discrepancy (KID) of two sets of features: mean and standard deviation over random subsets.

    Of the kernel (x · y / D + 1)³, unbiased: it does not depend on how many images there are, and may be below 0.

    Demystifying MMD GANs, arXiv 1801.01401.

    Args:
        real_ND: features of real images.
        generated_MD: features of generated images.
        subset_size: images of each set in a subset, at most as many as there are in either.
        subsets: how many.
        seed: of the subsets.

    Raises:
        ValueError: a set has fewer than two vectors.
    """
    fewest = min(len(real_ND), len(generated_MD))
    if fewest < 2:
        raise ValueError(f"KID: needs at least 2 images a set, got {len(real_ND)} and {len(generated_MD)}")
    metric = KernelInceptionDistance(
        feature=_Given(real_ND.shape[1]), subsets=subsets, subset_size=min(subset_size, fewest)
    )
    metric.update(real_ND.double(), real=True)
    metric.update(generated_MD.double(), real=False)
    # The subsets are drawn from torch's global random numbers.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def precision_recall(real_ND: Tensor, generated_MD: Tensor, k: int = 3) -> PrecisionRecall:
    """Share of each set that lies within the manifold of the other.

    The manifold of a set is the union of balls around its members, each reaching to its k-th nearest neighbour.

    Improved Precision and Recall Metric for Assessing Generative Models, arXiv 1904.06991.

    Raises:
        ValueError: a set has no k-th neighbour.
    """
    if min(len(real_ND), len(generated_MD)) <= k:
        raise ValueError(
            f"precision and recall: need at least {k + 1} images a set, got {len(real_ND)} and {len(generated_MD)}"
        )
    return PrecisionRecall(_covered(generated_MD, real_ND, k), _covered(real_ND, generated_MD, k))


def _covered(point_ND: Tensor, member_MD: Tensor, k: int, chunk: int = 1000) -> float:
    """Share of the points inside the manifold of the members."""
    # Every member is its own nearest neighbour at distance 0, so the k-th other one is the (k + 1)-th.
    radius_M = torch.cat([_distances(part, member_MD).kthvalue(k + 1).values for part in torch.split(member_MD, chunk)])
    inside = [(_distances(part, member_MD) <= radius_M).any(dim=1) for part in torch.split(point_ND, chunk)]
    return torch.cat(inside).double().mean().item()


def _distances(a_ND: Tensor, b_MD: Tensor) -> Tensor:
    # Through a matrix product, a point's distance to itself would not be exactly 0.
    return torch.cdist(a_ND, b_MD, compute_mode="donot_use_mm_for_euclid_dist")
