"""How good and how varied generated images are beside real ones: every figure with its interval and its protocol.

Letters: N real images, M generated ones, D features, K classes, S halves.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from torch import Tensor

from arlab.features.classifier import agreement
from arlab.metrics.diversity import diversities
from arlab.metrics.figure import Figure, meaning
from arlab.metrics.frechet import PRINCIPAL, FrechetTo, comparable, frechet_distance
from arlab.metrics.intervals import DEVIATIONS, Halves
from arlab.metrics.kernel import kernel_distances
from arlab.metrics.manifold import DENSITY_K, PRECISION_K, densities_coverages, precisions_recalls
from arlab.metrics.neighbours import nearest, train_distance
from arlab.metrics.protocol import Protocol
from arlab.metrics.scores import inception_score
from arlab.metrics.seen import Seen

_FEWEST_REAL = DENSITY_K + 1
# So that a half of them still has the neighbours that balls reach to.
_FEWEST_GENERATED = 2 * (PRECISION_K + 1)
# Of more features than 64, which only 10,000 images and more are compared in, a half takes seconds.
_WIDE_HALVES = 20


@dataclass(frozen=True)
class _Measured:
    """A value, the same of each half, and what it lies between by definition; between 0 and 1 it is a share."""

    value: float
    of_half_S: Tensor
    least: float = -math.inf
    most: float = math.inf

    @classmethod
    def of_parts(cls, value_S: Tensor, least: float = -math.inf, most: float = math.inf) -> _Measured:
        """From the value of the whole set, then of each half."""
        return cls(float(value_S[0]), value_S[1:], least, most)

    def figure(self, name: str, halves: Halves, protocol: Protocol) -> Figure:
        """The figure; without an interval where the halves have none."""
        low, high = halves.interval(self.value, self.of_half_S)
        if math.isnan(low):
            return Figure(self.value, meaning(name).unit, protocol)
        how = f"1.96 standard deviations over {len(self.of_half_S)} random halves of the images, each class halved"
        if low == high and (self.least, self.most) == (0, 1):
            # All or none of so many is no proof of all or none of the next.
            reach = DEVIATIONS**2 / (halves.count + DEVIATIONS**2)
            low, high = self.value - reach, self.value + reach
            how = "Wilson's for a share of the images, as all random halves are alike"
        return Figure(
            self.value,
            meaning(name).unit,
            dataclasses.replace(protocol, interval=f"95 %: {how}"),
            min(self.value, max(low, self.least)),
            max(self.value, min(high, self.most)),
        )


def quality(
    real: Seen,
    generated: Seen,
    protocol: Protocol,
    *,
    train: Seen | None = None,
    unseen: Seen | None = None,
    classes: bool,
    halves: int = 100,
) -> dict[str, Figure]:
    """All figures of generated images that a feature network gives, by name (``arlab.metrics.figure.MEANINGS``).

    FID, FID@N or FID_pca64@N; kid; precision, recall; density, coverage; diversity; inception_score, where the network
    has class scores; agreement and real_agreement, where those are of the data's classes; train_distance, where
    training images and unseen ones are given. Left out is what is not defined: an FID of too few images
    (``comparable``), a diversity where no class has two images.

    Intervals tell how much a figure would change with other images of the same generator (``Halves``); the real images
    stay the same, so that rows of a table share their chance.

    Args:
        real: real images, as the network sees them.
        generated: generated images, labelled with the classes asked for.
        protocol: how the images were made and seen; their numbers and the interval are filled in.
        train: the training images.
        unseen: real images that were not trained on, which tell how near to training images new ones lie.
        classes: the network's class scores are of the data's classes.
        halves: S, for intervals; of an FID of more than 64 features at most 20.

    Raises:
        ValueError: there are fewer than 6 real or 8 generated images, the sets were seen by different networks, or
            class scores are missing.
    """
    _refuse(real, generated, train, unseen, classes)
    drawn = Halves.draw(len(generated), halves, label_N=generated.label_N)
    protocol = dataclasses.replace(protocol, num_images=len(generated), num_real=len(real))
    measured = _distances(real, generated, drawn) | _balls(real, generated, drawn) | _varied(real, generated, drawn)
    figures = {name: each.figure(name, drawn, protocol) for name, each in measured.items()}
    if generated.logits_NK is not None:
        figures |= _scores(real, generated, drawn, protocol, classes)
    if train is not None and unseen is not None:
        protocol = dataclasses.replace(protocol, split="train", num_real=len(train))
        near = _near(generated, train, unseen, drawn)
        figures["train_distance"] = near.figure("train_distance", drawn, protocol)
    return {name: figure for name, figure in figures.items() if math.isfinite(figure.value)}


def _distances(real: Seen, generated: Seen, halves: Halves) -> dict[str, _Measured]:
    """FID, under its name, and KID."""
    of_parts_S = kernel_distances(real.feature_ND, generated.feature_ND, halves.parts())
    measured = {"kid": _Measured.of_parts(of_parts_S)}
    pair = comparable(real.feature_ND, generated.feature_ND)
    if pair is None:
        return measured
    wide = pair.real_ND.shape[1] > PRINCIPAL
    few = dataclasses.replace(halves, row_SH=halves.row_SH[: _WIDE_HALVES if wide else None])
    to_real = FrechetTo(pair.real_ND)
    of_half_S = few.each(lambda row_H: to_real(pair.generated_MD[row_H]))
    return {pair.name: _Measured(frechet_distance(pair.real_ND, pair.generated_MD), of_half_S, least=0)} | measured


def _balls(real: Seen, generated: Seen, halves: Halves) -> dict[str, _Measured]:
    """Precision, recall, density, coverage."""
    sets = (real.feature_ND, generated.feature_ND, halves.parts())
    precision_S, recall_S = precisions_recalls(*sets)
    density_S, coverage_S = densities_coverages(*sets)
    return {
        "precision": _Measured.of_parts(precision_S, 0, 1),
        "recall": _Measured.of_parts(recall_S, 0, 1),
        "density": _Measured.of_parts(density_S, 0),
        "coverage": _Measured.of_parts(coverage_S, 0, 1),
    }


def _varied(real: Seen, generated: Seen, halves: Halves) -> dict[str, _Measured]:
    sets = (real.feature_ND, real.label_N, generated.feature_ND, generated.label_N)
    return {"diversity": _Measured.of_parts(diversities(*sets, halves.parts()), 0)}


def _scores(real: Seen, generated: Seen, halves: Halves, protocol: Protocol, classes: bool) -> dict[str, Figure]:
    """Inception score and agreement; that of real images has an interval over those."""
    logits_MK, label_M = generated.logits_NK, generated.label_N
    assert logits_MK is not None
    of_half_S = halves.each(lambda row_H: inception_score(logits_MK[row_H]))
    score = _Measured(inception_score(logits_MK), of_half_S, 1, logits_MK.shape[1])
    figures = {"inception_score": score.figure("inception_score", halves, protocol)}
    if not classes:
        return figures
    figures["agreement"] = _agreement(logits_MK, label_M, halves).figure("agreement", halves, protocol)
    assert real.logits_NK is not None
    of_real = Halves.draw(len(real), len(halves.row_SH), label_N=real.label_N)
    measured = _agreement(real.logits_NK, real.label_N, of_real)
    protocol = dataclasses.replace(protocol, num_images=len(real))
    return figures | {"real_agreement": measured.figure("real_agreement", of_real, protocol)}


def _agreement(logits_NK: Tensor, label_N: Tensor, halves: Halves) -> _Measured:
    of_half_S = halves.each(lambda row_H: agreement(logits_NK[row_H], label_N[row_H]))
    return _Measured(agreement(logits_NK, label_N), of_half_S, 0, 1)


def _near(generated: Seen, train: Seen, unseen: Seen, halves: Halves) -> _Measured:
    to_train_M = nearest(generated.feature_ND, train.feature_ND).distance_M
    unseen_N = nearest(unseen.feature_ND, train.feature_ND).distance_M
    of_half_S = halves.each(lambda row_H: train_distance(to_train_M[row_H], unseen_N))
    return _Measured(train_distance(to_train_M, unseen_N), of_half_S, least=0)


def _refuse(real: Seen, generated: Seen, train: Seen | None, unseen: Seen | None, classes: bool) -> None:
    """See that the figures can be taken.

    Raises:
        ValueError: they cannot.
    """
    for name, seen, fewest in (("real", real, _FEWEST_REAL), ("generated", generated, _FEWEST_GENERATED)):
        if len(seen) < fewest:
            raise ValueError(f"quality: needs at least {fewest} {name} images, got {len(seen)}")
    widths = {seen.feature_ND.shape[1] for seen in (real, generated, train, unseen) if seen is not None}
    if len(widths) > 1:
        raise ValueError(f"quality: all images must be seen by one network, got {sorted(widths)} features")
    if classes:
        for name, seen in (("real", real), ("generated", generated)):
            if seen.logits_NK is None:
                raise ValueError(f"quality: classes are those of the data, but the {name} images have no class scores")
