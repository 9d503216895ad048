"""What a comparison is made of, as plain records that are written to disk and read back.

Letters: K classes, P pictures of a class, S decoding steps shown, I images followed, C channels, H and W sides,
G generated images shown beside their nearest training images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from arlab.metrics.figure import Figure


@dataclass(frozen=True)
class Evaluation:
    """What was measured of one trained generator.

    Attributes:
        run: as it was named.
        checkpoint: the file or the export that was measured.
        content: a digest of that file.
        step: it was saved at; None where it does not say.
        ordering: its class.
        head: its class.
        tokenizer: its class, and that of its quantizer.
        tokenizer_sha256: of its configuration and weights (``arlab.tokenizers.identity``).
        source: the name of the data set.
        figures: of the generator, by name (``arlab.metrics.figure``).
        tokenizer_figures: of its tokenizer.
        nats_by_step: mean nats per token of each decoding step, where they are exact.
        tokens_by_step: how many tokens each step draws.
        machine: what it was measured on.
        measured: when, in ISO 8601.
    """

    run: str
    checkpoint: str
    content: str
    step: int | None
    ordering: str
    head: str
    tokenizer: str
    tokenizer_sha256: str
    source: str
    figures: dict[str, Figure]
    tokenizer_figures: dict[str, Figure]
    nats_by_step: tuple[float, ...] | None
    tokens_by_step: tuple[int, ...]
    machine: dict[str, str | int]
    measured: str


@dataclass(frozen=True)
class Shown:
    """Pictures of one trained generator, uint8; equal classes and seeds for all rows of a comparison.

    Attributes:
        class_names: K names, or one empty name for data without classes.
        grid_KPCHW: (K, P, C, H, W) generated images, class by class.
        real_KPCHW: real images of the same classes.
        strip_SICHW: (S, I, C, H, W) what is known after each of the steps shown; the last is the finished image.
        strip_steps: the S steps, counted from 1.
        neighbour_GCHW: (G, C, H, W) generated images.
        nearest_GCHW: of each the nearest training image in the features of the network.
    """

    class_names: tuple[str, ...]
    grid_KPCHW: Tensor
    real_KPCHW: Tensor
    strip_SICHW: Tensor
    strip_steps: tuple[int, ...]
    neighbour_GCHW: Tensor
    nearest_GCHW: Tensor


@dataclass(frozen=True)
class Curve:
    """A figure over training.

    Attributes:
        name: as it was logged: train/loss, val/nats_per_token.
        steps: optimiser steps.
        seconds: time spent in training until then, interruptions left out.
        values: of the figure.
    """

    name: str
    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Training:
    """What a run's training was, where the run folder tells it.

    Attributes:
        steps: optimiser steps.
        seconds: spent in the run.
        flops_per_step: forward and backward of a batch, the frozen tokenizer left out; None where unknown.
        curves: what was logged.
    """

    steps: int
    seconds: float
    flops_per_step: float | None
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Member:
    """One trained run of a row.

    Attributes:
        seed: it was trained with, beside which the others of the row differ in nothing; None of a run that was named.
        evaluation: what was measured of it.
        shown: its pictures.
        training: None for a checkpoint or an export without its run folder.
        config: the whole configuration it was trained with, as plain data; empty where there is none.
    """

    seed: int | None
    evaluation: Evaluation
    shown: Shown
    training: Training | None
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One line of a comparison: an experiment with all its seeds, or a run that was named.

    Attributes:
        name: unique in the comparison: the experiment's, or the run's.
        members: one per seed.
    """

    name: str
    members: tuple[Member, ...]
