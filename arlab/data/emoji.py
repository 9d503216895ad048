"""Emoji in colour: 3,365 training and 400 test images."""

from __future__ import annotations

from pathlib import Path

from arlab.data.facts import DataFacts
from arlab.data.memory import MemoryData, Parts, embedded
from arlab.data.transforms import Transform

_FILE = Path(__file__).with_name("emoji32.npz")
_FACTS = DataFacts(
    source="emoji32",
    channels=3,
    image_size=(32, 32),
    class_names=(
        "activities",
        "animals & nature",
        "flags",
        "food & drink",
        "objects",
        "people & body",
        "smileys & emotion",
        "symbols",
        "travel & places",
    ),
)


class Emoji(MemoryData):
    """32 x 32 RGB emoji on white in nine classes, shipped with arlab.

    Every emoji is drawn twice, as in Twemoji (CC-BY 4.0) and as in Noto Emoji (Apache-2.0; see emoji.LICENSE). Parts
    hold different emoji, not only different pictures: the order is that of a hash of their names, and pictures that
    occur under several names (flags) are kept once. Classes are not balanced.

    Args:
        batch_size: images per step and process.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.
        validation_size: how many training images are held out for validation, the last ones.
        transforms: what is done to the images, in order; null: nothing.
    """

    def __init__(
        self,
        *,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        validation_size: int = 365,
        transforms: list[Transform] | None = None,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            seed=seed,
            num_workers=num_workers,
            validation_size=validation_size,
            transforms=transforms,
        )

    @property
    def facts(self) -> DataFacts:
        return _FACTS

    def read(self) -> Parts:
        return embedded(_FILE, _FACTS.levels, self.validation_size)
