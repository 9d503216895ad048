"""A few figures of generated images in the features of a classifier, without intervals, for sweeps over settings.

Letters: N real images, M generated images.
"""

from __future__ import annotations

import dataclasses
import json

from arlab.data.stream import Images
from arlab.features.classifier import FeatureClassifier, agreement
from arlab.metrics.frechet import FULL_FID, frechet_distance
from arlab.metrics.manifold import precision_recall
from arlab.metrics.protocol import Protocol


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
