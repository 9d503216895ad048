"""The options that say how images are drawn, of every command that draws some."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from arlab.cli.parser import Parser
from arlab.ranges import require

if TYPE_CHECKING:
    from arlab.generators.guidance import Guidance
    from arlab.generators.sampler import Sampler
    from arlab.generators.schedules import Schedule

KEYS = ("guidance_scale", "guidance", "temperature", "top_k", "top_p")


def add_sampling(options: Parser) -> None:
    """Offer them; what is not given is None."""
    options.add_argument("--guidance_scale", type=float, metavar="S", help="exaggerate the class; 1 = not (1.0)")
    options.add_argument(
        "--guidance",
        nargs="+",
        metavar=("NAME", "KEY=VALUE"),
        help="a schedule in place of --guidance_scale, e.g. LinearGuidance start=1 end=2.5 (arlab list guidance)",
    )
    options.add_argument(
        "--temperature",
        nargs="+",
        metavar="T",
        help="0 takes the most likely token (1.0); several: one a step, the last from there on; or a schedule, e.g. "
        "Ramp start=1 end=0.5 (arlab list schedule)",
    )
    options.add_argument(
        "--top_k",
        type=int,
        nargs="+",
        metavar="K",
        help="draw among the K most likely tokens; 0 = all (0); several: one a step, the last from there on",
    )
    options.add_argument("--top_p", type=float, metavar="P", help="of those, the fewest with this mass (1.0)")


def check_sampling(options: argparse.Namespace) -> None:
    """See that numbers are in range, before anything is read."""
    for key, values in (("temperature", _numbers(options.temperature)), ("top_k", options.top_k)):
        for value in values or ():
            require(key, value, at_least=0)
    if options.guidance is not None and options.guidance_scale is not None:
        raise ValueError("guidance_scale: given beside guidance; give one of the two")


@dataclass(frozen=True)
class Drawing:
    """How images are drawn.

    Attributes:
        guidance: the guidance scale of each step; None: ``guidance_scale`` at all.
        guidance_scale: 1 = none.
        temperature: 0 takes the most likely token.
        top_k: 0 = all.
        top_p: 1 = all.
    """

    guidance: Guidance | None
    guidance_scale: float
    temperature: float | Schedule
    top_k: int | Schedule
    top_p: float

    def sampler(self) -> Sampler:
        """A sampler that draws so."""
        from arlab.generators.guidance import ConstantGuidance
        from arlab.generators.sampler import Sampler

        return Sampler(
            guidance=ConstantGuidance(guidance_scale=self.guidance_scale) if self.guidance is None else self.guidance,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
        )


def drawing_of(options: argparse.Namespace) -> Drawing:
    """What the options say.

    Raises:
        ValueError: there is no such guidance.
    """
    from arlab.discovery import named
    from arlab.generators.guidance import Guidance
    from arlab.generators.schedules import PerStep

    top_k = options.top_k or [0]
    return Drawing(
        guidance=None if options.guidance is None else named(options.guidance, Guidance, "guidance"),
        guidance_scale=1.0 if options.guidance_scale is None else options.guidance_scale,
        temperature=_temperature(options.temperature),
        top_k=PerStep(values=tuple(top_k)) if len(top_k) > 1 else top_k[0],
        top_p=1.0 if options.top_p is None else options.top_p,
    )


def _temperature(words: Sequence[str] | None) -> float | Schedule:
    """What the words after --temperature say; none is 1.

    Raises:
        ValueError: they are neither numbers nor a schedule.
    """
    from arlab.discovery import named
    from arlab.generators.schedules import PerStep, Schedule

    if words is None:
        return 1.0
    numbers = _numbers(words)
    if numbers is None:
        return named(words, Schedule, "temperature")
    return PerStep(values=numbers) if len(numbers) > 1 else numbers[0]


def _numbers(words: Sequence[str] | None) -> tuple[float, ...] | None:
    """These words as numbers, if the first is one.

    Raises:
        ValueError: others are not.
    """
    if not words or not _number(words[0]):
        return None
    for word in words:
        if not _number(word):
            raise ValueError(f"temperature: expected numbers, or a schedule and its options, got {word!r}")
    return tuple(float(word) for word in words)


def _number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
