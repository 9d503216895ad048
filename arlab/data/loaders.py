"""What every data module of arlab shares: loaders over its three parts, in batches that a run can resume at."""

from __future__ import annotations

import signal
from abc import abstractmethod
from collections.abc import Callable, Iterator
from enum import Enum

import torch
from lightning.pytorch.loops.progress import _ProcessedTracker as ProcessedTracker
from torch.utils.data import DataLoader

from arlab.data.data import Batch, ImageData, Part
from arlab.data.stream import EvaluationBatches, FromPosition, Images, ResumableLoader, TrainingStream
from arlab.ranges import require

_MOST_WORKERS = 256


class Split(Enum):
    """The parts of an image set."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class LoadedData(ImageData):
    """Images in batches that depend on the seed and the number of the step alone.

    A run resumed from a checkpoint, in the middle of an epoch too, sees the batches it would have seen: the position
    in the stream is the Trainer's own count of training batches, which Lightning keeps in its checkpoints. Outside a
    Trainer the training loader gives epoch ``epoch``.

    Args:
        batch_size: B, of one process; incomplete training batches are dropped.
        seed: of the shuffling and of random transforms.
        num_workers: loader processes; 0 is fastest for images in memory.

    Raises:
        ValueError: the batch size or the number of workers is out of range.
    """

    def __init__(self, *, batch_size: int, seed: int, num_workers: int) -> None:
        super().__init__()
        require("data.batch_size", batch_size, at_least=1)
        require("data.num_workers", num_workers, at_least=0, at_most=_MOST_WORKERS)
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.epoch = 0
        self._read: dict[Split, Part] = {}

    @abstractmethod
    def load(self, split: Split) -> Part:
        """Read a part of the images.

        Raises:
            ValueError: they cannot be read.
        """

    def part(self, split: Split) -> Part:
        """A part of the images, read when first asked for."""
        if split not in self._read:
            self._read[split] = self.load(split)
        return self._read[split]

    def still(self) -> Iterator[Batch] | None:
        training = self.part(Split.TRAIN)
        if not isinstance(training, Images):
            return None
        return (training.batch(row_B, known=True) for row_B in torch.arange(len(training)).split(self.batch_size))

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world_size = self._rank()
        stream = TrainingStream(
            self.part(Split.TRAIN), batch_size=self.batch_size, seed=self.seed, rank=rank, world_size=world_size
        )
        return self._loader(stream, lambda: self._position(len(stream)))

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self._evaluation(Split.VALIDATION), None)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self._evaluation(Split.TEST), None)

    def _evaluation(self, split: Split) -> EvaluationBatches:
        rank, world_size = self._rank()
        return EvaluationBatches(self.part(split), batch_size=self.batch_size, rank=rank, world_size=world_size)

    def _loader(
        self, batches: TrainingStream | EvaluationBatches, position: Callable[[], int] | None
    ) -> DataLoader[Batch]:
        # The private generator keeps the loader from drawing on the global one, which would make a run that saves or
        # validates differ from one that does not.
        return ResumableLoader(
            batches,
            batch_size=None,
            sampler=FromPosition(batches, position),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            generator=torch.Generator().manual_seed(self.seed),
            worker_init_fn=_outlast_signals,
        )

    def _rank(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _position(self, length: int) -> int:
        if self.trainer is None:
            return self.epoch * length
        # Counts every batch trained on since the first step, across epochs and resumptions.
        progress = self.trainer.fit_loop.epoch_loop.batch_progress.total
        assert isinstance(progress, ProcessedTracker)
        return progress.processed


def _outlast_signals(worker: int) -> None:
    """A signal to the whole process group must not take the workers from a run that wants to save first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
