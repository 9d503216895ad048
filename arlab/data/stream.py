"""Training batches as one endless numbered stream, so that a run resumes at exactly the batch it stopped before.

Batch n of the stream is a function of (seed, n) alone. A position is therefore one integer, and none of epoch
boundaries, worker processes and the moment of saving can shift it.

Letters: N images, B batch, C channels, H and W image sides.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from arlab.data.data import Batch, Part
from arlab.rng import mix_seed


@dataclass(frozen=True)
class Images(Part):
    """A part of an image set in memory.

    Attributes:
        pixel_NCHW: uint8 intensities 0 .. levels - 1.
        label_N: int64 class indices.
        levels: how many intensities there are, as the data's facts say.

    Raises:
        ValueError: an intensity lies beyond the levels.
    """

    pixel_NCHW: Tensor
    label_N: Tensor
    levels: int = 256

    def __post_init__(self) -> None:
        highest = int(self.pixel_NCHW.max()) if self.pixel_NCHW.numel() else 0
        if highest >= self.levels:
            raise ValueError(f"images: intensity {highest} lies beyond their {self.levels} levels")

    def __len__(self) -> int:
        return int(self.pixel_NCHW.shape[0])

    def __getitem__(self, rows: slice | Tensor) -> Images:
        """Some of the images."""
        return Images(self.pixel_NCHW[rows], self.label_N[rows], self.levels)

    def batch(self, row_B: Tensor, known: bool, epoch: int | None = None) -> Batch:
        image_BCHW = normalised(self.pixel_NCHW[row_B], self.levels)
        return Batch(image_BCHW, self.label_N[row_B], row_B if known else torch.full_like(row_B, -1))


def normalised(pixel_BCHW: Tensor, levels: int) -> Tensor:
    """Intensities v mapped to 2v / (levels - 1) - 1."""
    return pixel_BCHW.float().div_((levels - 1) / 2).sub_(1)


class TrainingStream(Dataset[Batch]):
    """Item n is batch n of the endless stream: epoch n // len(self), shuffled by (seed, epoch).

    With several processes a global batch is ``world_size`` local ones, and each rank takes its stride of it. Images
    that do not fill the last global batch of an epoch are left out of that epoch.

    Args:
        images: the training part.
        batch_size: B, of one process.
        seed: of the shuffling.
        rank: of this process.
        world_size: how many processes there are.

    Raises:
        ValueError: there are fewer images than one global batch.
    """

    def __init__(self, images: Part, *, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if len(images) < batch_size * world_size:
            raise ValueError(
                f"data.batch_size: {batch_size} on {world_size} {'processes' if world_size > 1 else 'process'} needs "
                f"more than the {len(images)} training images there are"
            )
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._order: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.images) // (self.batch_size * self.world_size)

    def __getitem__(self, number: int) -> Batch:
        epoch, place = divmod(int(number), len(self))
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch))
            self._order = (epoch, torch.randperm(len(self.images), generator=generator))
        total = self.batch_size * self.world_size
        row_B = self._order[1][place * total : (place + 1) * total][self.rank :: self.world_size]
        return self.images.batch(row_B, known=True, epoch=epoch)


class EvaluationBatches(Dataset[Batch]):
    """Every image once, in order; the last batch may be smaller. Of several processes each takes its stride.

    Args:
        images: the validation or test part.
        batch_size: B.
        rank: of this process.
        world_size: how many processes there are.
    """

    def __init__(self, images: Part, *, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.images = images
        rows = torch.arange(len(images))[rank::world_size]
        self.rows = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.images.batch(self.rows[number], known=False)


class FromPosition(DistributedSampler[int]):
    """Batch numbers from a position on, as many as an epoch has.

    It is a ``DistributedSampler`` so that a Trainer leaves it alone: the batches are each rank's own already.

    Args:
        batches: what is numbered.
        position: tells where to begin whenever iteration begins; None: at the first.
    """

    def __init__(self, batches: TrainingStream | EvaluationBatches, position: Callable[[], int] | None = None) -> None:
        super().__init__(batches, num_replicas=1, rank=0, shuffle=False)
        self.length = len(batches)
        self.position = position

    def __iter__(self) -> Iterator[int]:
        first = 0 if self.position is None else self.position()
        return iter(range(first, first + self.length))

    def __len__(self) -> int:
        return self.length


class ResumableLoader(DataLoader[Batch]):
    """A loader that tells a Trainer that it resumes within an epoch: its position comes from the Trainer's counter."""

    def state_dict(self) -> dict[str, int]:
        """Nothing beside the position, which the Trainer's progress holds already."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Nothing to restore."""

    def _get_iterator(self) -> _BaseDataLoaderIter:
        iterator = super()._get_iterator()
        if isinstance(iterator, _MultiProcessingDataLoaderIter):
            # Workers outlast SIGTERM, by which they would be ended where they cannot be told to end themselves; Python
            # waits at exit for those that are left.
            for worker in iterator._workers:
                worker.terminate = worker.kill  # type: ignore[method-assign]
            atexit.register(_end_workers, weakref.ref(iterator))
        return iterator


def _end_workers(iterator: weakref.ref[_MultiProcessingDataLoaderIter]) -> None:
    alive = iterator()
    if alive is not None:
        alive._shutdown_workers()
