"""Schedules: a temperature, or a number of tokens to choose among, that changes from step to step of decoding."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from arlab.configurable import Configurable
from arlab.orderings.choices import left, softness
from arlab.orderings.step import Progress
from arlab.ranges import require


class Schedule(Configurable, ABC):
    """A number per decoding step, at least 0; where a whole number is wanted, it is rounded."""

    @abstractmethod
    def at(self, progress: Progress) -> float:
        """The number at this step."""


class PerStep(Schedule):
    """One number after another; steps beyond the list get its last.

    Collaborative Decoding Makes Visual Auto-Regressive Modeling Efficient (CoDe), arXiv 2411.17787.

    Args:
        values: the number at the first step, at the second, ...
    """

    def __init__(self, *, values: tuple[float, ...] = (1.0,)) -> None:
        if not values:
            raise ValueError("schedule.values: at least one is needed, got none")
        for value in values:
            require("schedule.values", value, at_least=0)
        self.values = tuple(values)

    def at(self, progress: Progress) -> float:
        return self.values[min(progress.step, len(self.values) - 1)]


class Ramp(Schedule):
    """start + (end - start) · step / (steps - 1).

    Args:
        start: at the first step.
        end: at the last step.
    """

    def __init__(self, *, start: float = 1.0, end: float = 1.0) -> None:
        require("schedule.start", start, at_least=0)
        require("schedule.end", end, at_least=0)
        self.start = start
        self.end = end

    def at(self, progress: Progress) -> float:
        return self.start + (self.end - self.start) * _share(progress)


class SmoothRamp(Schedule):
    """end + (start - end) (1 + cos(π · step / (steps - 1))) / 2: as ``Ramp``, slow at both ends.

    Args:
        start: at the first step.
        end: at the last step.
    """

    def __init__(self, *, start: float = 1.0, end: float = 1.0) -> None:
        require("schedule.start", start, at_least=0)
        require("schedule.end", end, at_least=0)
        self.start = start
        self.end = end

    def at(self, progress: Progress) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * _share(progress))) / 2


class Fading(Schedule):
    """τ (1 - r), r the share of the steps that are over after this one: the last step takes the most likely tokens.

    MaskGIT as TiTok's code has it draws tokens at the temperature of the noise on their confidences.

    An Image is Worth 32 Tokens for Reconstruction and Generation (TiTok), arXiv 2406.07550.

    Args:
        temperature: τ.
        softened: multiplied by 0.5 + 0.8 (1 - r), as in ``ConfidenceChoice``.
    """

    def __init__(self, *, temperature: float = 1.0, softened: bool = False) -> None:
        require("schedule.temperature", temperature, at_least=0)
        self.temperature = temperature
        self.softened = softened

    def at(self, progress: Progress) -> float:
        return self.temperature * left(progress) * (softness(progress) if self.softened else 1)


def _share(progress: Progress) -> float:
    return progress.step / max(1, progress.steps - 1)
