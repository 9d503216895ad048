"""A measured number, and what numbers of its name mean."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from arlab.metrics.protocol import Protocol


@dataclass(frozen=True)
class Figure:
    """A measured number.

    Attributes:
        value: in ``unit``.
        unit: None for pure numbers.
        protocol: how it was measured.
        low: lower end of its 95 % interval, where one was taken; the protocol says how.
        high: upper end.
    """

    value: float
    unit: str | None
    protocol: Protocol
    low: float | None = None
    high: float | None = None

    def plain(self) -> dict[str, Any]:
        """For a JSON file, which has no infinity and no NaN: null."""
        numbers = {key: _finite(getattr(self, key)) for key in ("value", "low", "high")}
        return {**numbers, "unit": self.unit, "protocol": dataclasses.asdict(self.protocol)}

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Figure:
        """A figure read from a JSON file; its value is NaN where it was null."""
        value = math.nan if plain["value"] is None else plain["value"]
        return cls(value, plain["unit"], Protocol(**plain["protocol"]), plain.get("low"), plain.get("high"))


class Better(Enum):
    """Which of two figures is the better one."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


@dataclass(frozen=True)
class Meaning:
    """What a figure tells.

    Attributes:
        better: which end is good.
        what: one line.
        unit: of its value.
    """

    better: Better
    what: str
    unit: str | None = None


MEANINGS = {
    # of generated images
    "FID": Meaning(Better.LOWER, "Fréchet distance of features to those of real images; falls with N"),
    "kid": Meaning(Better.LOWER, "kernel distance of features to those of real images; by chance below 0"),
    "inception_score": Meaning(
        Better.HIGHER, "sure of the class of each image, and all classes there: exp E KL(p(y|x), p(y))"
    ),
    "agreement": Meaning(Better.HIGHER, "share of images that the network assigns to the class asked for"),
    "real_agreement": Meaning(Better.NEITHER, "the same of real images: what agreement can reach"),
    "precision": Meaning(Better.HIGHER, "share of generated images that lie among real ones"),
    "recall": Meaning(Better.HIGHER, "share of real images that lie among generated ones"),
    "density": Meaning(Better.HIGHER, "how many real neighbourhoods a generated image lies in, of k expected"),
    "coverage": Meaning(Better.HIGHER, "share of real images with a generated one in their neighbourhood"),
    "diversity": Meaning(Better.HIGHER, "distance between images of one class, in units of that of real images"),
    "train_distance": Meaning(
        Better.NEITHER,
        "distance to the nearest training image, in that of unseen real images; far below 1: copies",
    ),
    # likelihood
    "nats_per_token": Meaning(Better.LOWER, "of real images; compares within one tokenizer only", "nats"),
    "nats_per_image": Meaning(Better.LOWER, "of real images; compares within one tokenizer only", "nats"),
    "nats_per_token_bound": Meaning(Better.LOWER, "at most so many; compares within one tokenizer only", "nats"),
    "nats_per_image_bound": Meaning(Better.LOWER, "at most so many; compares within one tokenizer only", "nats"),
    "bits_per_dim": Meaning(Better.LOWER, "of real images, exact; compares between all models of pixels", "bits"),
    # cost
    "decoding_steps": Meaning(Better.LOWER, "of one image"),
    "network_evaluations": Meaning(Better.LOWER, "passes of the backbone for one image; guidance doubles their rows"),
    "head_evaluations": Meaning(
        Better.LOWER, "looks of the head's denoiser for one image; guidance doubles their rows"
    ),
    "images_per_second": Meaning(Better.HIGHER, "sampled, at the protocol's batch size"),
    "latency": Meaning(Better.LOWER, "of sampling one image alone", "s"),
    "peak_memory": Meaning(Better.LOWER, "of sampling a batch, above what the model itself takes", "MB"),
    "parameters": Meaning(Better.NEITHER, "trained, the frozen tokenizer left out"),
    "flops_per_image": Meaning(Better.LOWER, "of sampling one image, the tokenizer's decoder included", "FLOP"),
    # of a tokenizer
    "psnr": Meaning(Better.HIGHER, "of reconstructions", "dB"),
    "ssim": Meaning(Better.HIGHER, "structural similarity of reconstructions"),
    "perceptual_distance": Meaning(Better.LOWER, "of reconstructions, in the feature network"),
    "rFID": Meaning(Better.LOWER, "Fréchet distance of reconstructions to their images; falls with N"),
    "tokens_per_image": Meaning(Better.NEITHER, "of the tokenizer"),
    "bits_per_image": Meaning(Better.NEITHER, "that the tokens hold: N log2 V", "bits"),
    "usage": Meaning(Better.HIGHER, "share of codes that are hit"),
    "perplexity": Meaning(Better.HIGHER, "how many equally frequent codes there would be"),
}
"""By base name: without '@N', without the axes the features were projected on, without the level."""
_ADDED = re.compile(r"(_pca\d+)?(@\d+)?$|_level_\d+$")


def meaning(name: str) -> Meaning:
    """What a figure of this name means; 'FID_pca64@1000' is an FID, 'usage_level_2' a usage.

    Raises:
        KeyError: there is no such figure.
    """
    return MEANINGS[_ADDED.sub("", name, count=1)]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
