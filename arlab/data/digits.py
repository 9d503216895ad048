"""The handwritten digits that scikit-learn ships."""

from __future__ import annotations

import torch

from arlab.data.facts import DataFacts
from arlab.data.memory import MemoryData, Parts
from arlab.data.stream import Images
from arlab.data.transforms import Transform

_FACTS = DataFacts(
    source="sklearn-digits",
    channels=1,
    image_size=(8, 8),
    class_names=tuple(str(digit) for digit in range(10)),
    levels=17,
)
_TEST_SIZE = 297
_SPLIT_SEED = 0


class Digits(MemoryData):
    """1,797 gray images of 8 x 8, intensities 0 .. 16 kept exact as v / 8 - 1 (BSD-3, from scikit-learn).

    The split is drawn once and the same everywhere: 297 test images, then ``validation_size``, the rest for training.

    Args:
        batch_size: images per step and process.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.
        validation_size: how many images are held out for validation.
        transforms: what is done to the images, in order; only RandomFlip keeps the 17 intensities exact; null: nothing.
    """

    def __init__(
        self,
        *,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        validation_size: int = 200,
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
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixel_NCHW = torch.from_numpy(digits.images).to(torch.uint8)[:, None]
        label_N = torch.from_numpy(digits.target).long()
        order = torch.randperm(len(label_N), generator=torch.Generator().manual_seed(_SPLIT_SEED))
        rest = len(order) - _TEST_SIZE - self.validation_size
        if rest < 1:
            raise ValueError(f"data.validation_size: {self.validation_size} leaves nothing of {len(order)} images")
        train, validation, test = (
            Images(pixel_NCHW[rows], label_N[rows], levels=_FACTS.levels)
            for rows in (order[-rest:], order[_TEST_SIZE:-rest], order[:_TEST_SIZE])
        )
        return Parts(train, validation, test)
