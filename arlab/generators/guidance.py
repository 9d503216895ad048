"""Guidance schedules: how strongly the condition is exaggerated at each step.

A schedule gives s in u + s (c - u); what u and c are is the head's affair (logits, predictions, drifts).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from arlab.configurable import Configurable
from arlab.orderings.step import Progress


class Guidance(Configurable, ABC):
    """A guidance scale per step; 1 everywhere means that no unconditional pass is run."""

    @abstractmethod
    def scale(self, progress: Progress) -> float:
        """s at this step; 1 = no guidance."""

    @property
    @abstractmethod
    def active(self) -> bool:
        """Whether any step is guided."""


class ConstantGuidance(Guidance):
    """The same scale at every step, or only while few tokens are known (LlamaGen, NAR).

    Classifier-Free Diffusion Guidance, arXiv 2207.12598.

    Args:
        guidance_scale: s; 1 = none.
        until_token: steps that begin with more known tokens than this are not guided; null guides all.
    """

    def __init__(self, *, guidance_scale: float = 1.0, until_token: int | None = None) -> None:
        if until_token is not None and until_token < 0:
            raise ValueError(f"guidance.until_token: must be at least 0 or null, got {until_token}")
        _refuse_infinite("guidance_scale", guidance_scale)
        self.guidance_scale = guidance_scale
        self.until_token = until_token

    def scale(self, progress: Progress) -> float:
        beyond = self.until_token is not None and progress.known > self.until_token
        return 1.0 if beyond else self.guidance_scale

    @property
    def active(self) -> bool:
        return self.guidance_scale != 1.0


class LinearGuidance(Guidance):
    """From ``start`` at the first step to ``end`` at the last: s = start + (end - start) · step / (steps - 1).

    VAR's cfg = 1.5 is start 1, end 2.5 (its formula is (1 + t) c - t u with t = cfg · step / (steps - 1)).

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905.

    Args:
        start: s at the first step.
        end: s at the last step.
    """

    def __init__(self, *, start: float = 1.0, end: float = 2.5) -> None:
        _refuse_infinite("start", start)
        _refuse_infinite("end", end)
        self.start = start
        self.end = end

    def scale(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * progress.step / max(1, progress.steps - 1)

    @property
    def active(self) -> bool:
        return self.start != 1.0 or self.end != 1.0


class PowerCosineGuidance(Guidance):
    """s_i = 1 + (s - 1) (1 - cos(π (i / T)^p)) / 2 with i of T tokens known; late tokens are guided most (RAR).

    Randomized Autoregressive Visual Generation (RAR), arXiv 2411.00776.

    Args:
        guidance_scale: s at the end.
        power: p; larger keeps early steps freer.
    """

    def __init__(self, *, guidance_scale: float = 4.0, power: float = 2.75) -> None:
        if not 0 <= power < math.inf:
            raise ValueError(f"guidance.power: must be at least 0, got {power}")
        _refuse_infinite("guidance_scale", guidance_scale)
        self.guidance_scale = guidance_scale
        self.power = power

    def scale(self, progress: Progress) -> float:
        known = (progress.known / progress.tokens) ** self.power
        return 1 + (self.guidance_scale - 1) * (1 - math.cos(math.pi * known)) / 2

    @property
    def active(self) -> bool:
        return self.guidance_scale != 1.0


def _refuse_infinite(key: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"guidance.{key}: must be a finite number, got {value}")
