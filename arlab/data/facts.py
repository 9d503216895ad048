"""What a model must know of its data, carried from the data module to the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from arlab.ranges import require


@dataclass(frozen=True)
class DataFacts:
    """Facts about an image set.

    Attributes:
        source: the name of the set.
        channels: 1 for gray, 3 for RGB.
        image_size: (H, W) in pixels.
        class_names: one name per class, in label order; empty without classes.
        levels: how many intensities a channel takes, evenly spaced over [-1, 1]: 256 for 8-bit images.

    Raises:
        ValueError: there are fewer than two levels.
    """

    source: str
    channels: int
    image_size: tuple[int, int]
    class_names: tuple[str, ...] = ()
    levels: int = 256

    def __post_init__(self) -> None:
        require("facts.levels", self.levels, at_least=2)

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def dims(self) -> int:
        """C · H · W, what bits per dimension are divided by."""
        return self.channels * self.image_size[0] * self.image_size[1]

    def contradiction(self, other: DataFacts) -> str | None:
        """The first fact in which a model and its data differ, as 'key: mine against theirs'; None if they agree."""
        for key in ("channels", "image_size", "class_names", "levels"):
            mine, theirs = getattr(self, key), getattr(other, key)
            if mine != theirs:
                return f"{key}: {mine} against {theirs}"
        return None
