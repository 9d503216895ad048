"""Colours of steps, of what slots carry, and of ways."""

from __future__ import annotations

from arlab.orderings.step import Kind

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (25, 25, 25)
GRAY: Colour = (110, 110, 110)
FAINT: Colour = (225, 225, 225)

# Dark to light, so that the order is seen in gray as well.
_STEPS: tuple[Colour, ...] = ((66, 20, 98), (58, 83, 148), (28, 140, 142), (92, 194, 100), (245, 222, 60))
_WAYS: tuple[Colour, ...] = ((208, 60, 45), (30, 95, 190), (40, 140, 60), (150, 70, 170))
_KINDS: dict[Kind, Colour] = {
    Kind.COND: (200, 40, 120),
    Kind.TOKEN: (60, 60, 60),
    Kind.LEARNED: (235, 130, 20),
    Kind.COMPUTED: (25, 120, 200),
    Kind.NOISY: (120, 160, 40),
}


def of_step(step: int, last: int) -> Colour:
    """The first step is dark, the last light."""
    place = (len(_STEPS) - 1) * step / max(1, last)
    below = min(int(place), len(_STEPS) - 2)
    return blend(_STEPS[below], _STEPS[below + 1], place - below)


def of_way(way: int) -> Colour:
    """Ways beyond the fourth begin anew."""
    return _WAYS[way % len(_WAYS)]


def of_kind(kind: Kind) -> Colour:
    """What a slot carries."""
    return _KINDS[kind]


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """``share`` of the second colour, the rest of the first."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def on(background: Colour) -> Colour:
    """Black or white, whichever is read better on it."""
    red, green, blue = background
    return BLACK if 0.3 * red + 0.59 * green + 0.11 * blue > 130 else WHITE
