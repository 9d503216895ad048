"""Fashion-MNIST, the embedded subset: 5,000 training and 1,000 test images."""

from __future__ import annotations

from pathlib import Path

from arlab.data.facts import DataFacts
from arlab.data.memory import MemoryData, Parts, embedded
from arlab.data.transforms import Transform

_FILE = Path(__file__).with_name("fashion_mnist.npz")
_FACTS = DataFacts(
    source="fashion-mnist-5k",
    channels=1,
    image_size=(28, 28),
    class_names=(
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
)


class FashionMNIST(MemoryData):
    """28 x 28 gray images of ten kinds of clothing, shipped with arlab (MIT licence, see fashion_mnist.LICENSE).

    A balanced subset of 5,000 training and 1,000 test images. The last ``validation_size`` training images are held
    out for validation; classes are interleaved, so multiples of 10 keep every part balanced.

    Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms, arXiv 1708.07747.

    Args:
        batch_size: images per step and process.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.
        validation_size: how many training images are held out for validation.
        transforms: what is done to the images, in order; null: nothing.
    """

    def __init__(
        self,
        *,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        validation_size: int = 500,
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
