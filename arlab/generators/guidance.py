"""Guidance schedules: how strongly the condition is exaggerated at each step.

A schedule gives s in u + s (c - u); what u and c are is the head's affair (logits, predictions, drifts).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from arlab.configurable import Configurable
from arlab.orderings.step import Progress
from arlab.ranges import require


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
        require("guidance.guidance_scale", guidance_scale)
        if until_token is not None:
            require("guidance.until_token", until_token, at_least=0)
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
        require("guidance.start", start)
        require("guidance.end", end)
        self.start = start
        self.end = end

    def scale(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * progress.step / max(1, progress.steps - 1)

    @property
    def active(self) -> bool:
        return self.start != 1.0 or self.end != 1.0


class ShareGuidance(Guidance):
    """In proportion to the share of the tokens that is known: s = start + (end - start) · known / tokens.

    RandAR counts what is known before the step, MAR what is known after it (its cfg is ``end`` here).

    RandAR: Decoder-only Autoregressive Visual Generation in Random Orders, arXiv 2412.01827; Autoregressive Image
    Generation without Vector Quantization (MAR), arXiv 2406.11838.

    Args:
        start: s where nothing is known.
        end: s where everything is known.
        after: count the tokens that the step draws among the known ones, all but the very last of them (MAR).
    """

    def __init__(self, *, start: float = 1.0, end: float = 4.0, after: bool = False) -> None:
        require("guidance.start", start)
        require("guidance.end", end)
        self.start = start
        self.end = end
        self.after = after

    def scale(self, progress: Progress) -> float:
        known = min(progress.drawn, progress.tokens - 1) if self.after else progress.known
        return self.start + (self.end - self.start) * known / progress.tokens

    @property
    def active(self) -> bool:
        return self.start != 1.0 or self.end != 1.0


class RampGuidance(Guidance):
    """s = 1 + cfg · step / min(steps - 1, reach): as ``LinearGuidance``, but longer runs go beyond 1 + cfg (FlexVAR).

    With 13 steps, a reach of 9 and cfg = 2.5 the last step is guided by 1 + 2.5 · 12 / 9 = 4.33. Steps that draw more
    than ``plateau`` tokens, which are larger than what FlexVAR was trained on, are guided by 1 + cfg.

    FlexVAR: Flexible Visual Autoregressive Modeling without Residual Prediction, arXiv 2502.20313.

    Args:
        cfg: s - 1 when step ``reach`` is reached (or the last, if that comes before).
        reach: the step from which on longer runs leave the line of ``LinearGuidance``.
        plateau: steps that draw more tokens than this are guided by 1 + cfg; null for none.
    """

    def __init__(self, *, cfg: float = 2.5, reach: int = 9, plateau: int | None = 256) -> None:
        require("guidance.cfg", cfg)
        require("guidance.reach", reach, at_least=1)
        if plateau is not None:
            require("guidance.plateau", plateau, at_least=0)
        self.cfg = cfg
        self.reach = reach
        self.plateau = plateau

    def scale(self, progress: Progress) -> float:
        if self.plateau is not None and progress.drawn - progress.known > self.plateau:
            return 1 + self.cfg
        return 1 + self.cfg * progress.step / max(1, min(progress.steps - 1, self.reach))

    @property
    def active(self) -> bool:
        return self.cfg != 0.0


class IntervalGuidance(Guidance):
    """The same scale from one share of the steps to another, none before and after.

    s while begin <= step / (steps - 1) <= end, else 1.

    Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models,
    arXiv 2404.07724.

    Args:
        guidance_scale: s inside; 1 = none.
        begin: where it begins; 0 is the first step.
        end: where it ends; 1 is the last step.
    """

    def __init__(self, *, guidance_scale: float = 2.0, begin: float = 0.25, end: float = 0.75) -> None:
        require("guidance.guidance_scale", guidance_scale)
        require("guidance.begin", begin, at_least=0, at_most=1)
        require("guidance.end", end, at_least=begin, at_most=1)
        self.guidance_scale = guidance_scale
        self.begin = begin
        self.end = end

    def scale(self, progress: Progress) -> float:
        share = progress.step / max(1, progress.steps - 1)
        return self.guidance_scale if self.begin <= share <= self.end else 1.0

    @property
    def active(self) -> bool:
        return self.guidance_scale != 1.0


class PowerCosineGuidance(Guidance):
    """s_i = 1 + (s - 1) (1 - cos(π (i / T)^p)) / 2 with i of T tokens known; late tokens are guided most (RAR).

    Randomized Autoregressive Visual Generation (RAR), arXiv 2411.00776.

    Args:
        guidance_scale: s at the end.
        power: p; larger keeps early steps freer.
        by_step: i / T is the share of the steps before this one, not of the tokens known (TiTok's MaskGIT).
    """

    def __init__(self, *, guidance_scale: float = 4.0, power: float = 2.75, by_step: bool = False) -> None:
        require("guidance.guidance_scale", guidance_scale)
        require("guidance.power", power, at_least=0)
        self.guidance_scale = guidance_scale
        self.power = power
        self.by_step = by_step

    def scale(self, progress: Progress) -> float:
        share = progress.step / progress.steps if self.by_step else progress.known / progress.tokens
        return 1 + (self.guidance_scale - 1) * (1 - math.cos(math.pi * share**self.power)) / 2

    @property
    def active(self) -> bool:
        return self.guidance_scale != 1.0
