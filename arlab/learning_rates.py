"""Learning rate schedules of published recipes, as fractions of the peak over the steps of a run."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise

from arlab.configurable import Configurable
from arlab.ranges import require


class LearningRate(Configurable, ABC):
    """A learning rate over the peak at each step, warm-up included."""

    @abstractmethod
    def factor(self, step: int, total_steps: int) -> float:
        """The learning rate at a step (from 0) over the peak."""


class HoldThenLinear(LearningRate):
    """Linear warm-up, the peak for a while, then linearly down; the defaults are VAR's ``lin0`` for depths 16 and 20.

        w = round(warmup · total), p = (step - w) / (total - 1 - w)
        step < w: initial + (1 - initial) · step / w;   p < hold: 1;   else final + (1 - final) · (1 - p) / (1 - hold)

    Deeper VARs end at 0.01 of the peak. Its ``weight_decay`` then goes to ``final_weight_decay`` 0.08.

    Visual Autoregressive Modeling: Scalable Image Generation via Next-Scale Prediction (VAR), arXiv 2404.02905.

    Args:
        warmup: the share of all steps in which the rate rises.
        initial: the rate at the first of them, over the peak.
        hold: the share of the remaining steps at the peak.
        final: the rate at the last step, over the peak.
    """

    def __init__(self, *, warmup: float = 0.02, initial: float = 0.005, hold: float = 0.05, final: float = 0.1) -> None:
        require("optimizer.schedule.warmup", warmup, at_least=0, below=1)
        require("optimizer.schedule.initial", initial, at_least=0, at_most=1)
        require("optimizer.schedule.hold", hold, at_least=0, below=1)
        require("optimizer.schedule.final", final, at_least=0, at_most=1)
        self.warmup = warmup
        self.initial = initial
        self.hold = hold
        self.final = final

    def factor(self, step: int, total_steps: int) -> float:
        warmup = round(self.warmup * total_steps)
        if step < warmup:
            return self.initial + (1 - self.initial) * step / warmup
        progress = min(1.0, (step - warmup) / max(1, total_steps - 1 - warmup))
        return 1.0 if progress < self.hold else self.final + (1 - self.final) * (1 - progress) / (1 - self.hold)


class HoldThenCosine(LearningRate):
    """Linear warm-up, the peak for a while, then down along half a cosine; the defaults are xAR's of 800 epochs.

        w = round(warmup · total), p = (step - w) / (total - 1 - w)
        step < w: initial + (1 - initial) · step / w;   p < hold: 1
        else final + (1 - final) · (1 + cos(π (p - hold) / (1 - hold))) / 2

    Beyond Next-Token: Next-X Prediction for Autoregressive Visual Generation (xAR), arXiv 2502.20388.

    Args:
        warmup: the share of all steps in which the rate rises.
        initial: the rate at the first of them, over the peak.
        hold: the share of the remaining steps at the peak.
        final: the rate at the last step, over the peak.
    """

    def __init__(
        self, *, warmup: float = 1 / 8, initial: float = 0.0, hold: float = 5 / 7, final: float = 0.025
    ) -> None:
        require("optimizer.schedule.warmup", warmup, at_least=0, below=1)
        require("optimizer.schedule.initial", initial, at_least=0, at_most=1)
        require("optimizer.schedule.hold", hold, at_least=0, below=1)
        require("optimizer.schedule.final", final, at_least=0, at_most=1)
        self.warmup = warmup
        self.initial = initial
        self.hold = hold
        self.final = final

    def factor(self, step: int, total_steps: int) -> float:
        warmup = round(self.warmup * total_steps)
        if step < warmup:
            return self.initial + (1 - self.initial) * step / warmup
        progress = min(1.0, (step - warmup) / max(1, total_steps - 1 - warmup))
        falling = max(0.0, (progress - self.hold) / (1 - self.hold))
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * falling)) / 2


class MultiStep(LearningRate):
    """The peak, times ``drop`` at each milestone; the defaults are NAR's.

    Neighboring Autoregressive Modeling for Efficient Visual Generation (NAR), arXiv 2503.10696.

    Args:
        milestones: shares of all steps, each after the one before.
        drop: what the rate is multiplied by there.
    """

    def __init__(self, *, milestones: tuple[float, ...] = (1 / 2, 2 / 3, 5 / 6), drop: float = 0.2) -> None:
        if not all(before < after for before, after in pairwise((0.0, *milestones, 1.0))):
            raise ValueError(f"optimizer.schedule.milestones: must rise between 0 and 1, got {list(milestones)}")
        require("optimizer.schedule.drop", drop, at_least=0, at_most=1)
        self.milestones = tuple(milestones)
        self.drop = drop

    def factor(self, step: int, total_steps: int) -> float:
        return self.drop ** sum(step >= round(milestone * total_steps) for milestone in self.milestones)
