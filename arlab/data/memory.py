"""Data modules whose images lie in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from lightning.pytorch.loops.progress import _ProcessedTracker as ProcessedTracker
from torch.utils.data import DataLoader

from arlab.data.data import Batch, ImageData
from arlab.data.facts import DataFacts
from arlab.data.stream import EvaluationBatches, FromPosition, Images, ResumableLoader, TrainingStream


@dataclass(frozen=True)
class Parts:
    """The three parts of an image set."""

    train: Images
    validation: Images
    test: Images


class MemoryData(ImageData):
    """Images in memory, in batches that depend on the seed and the number of the step alone.

    A run resumed from a checkpoint, in the middle of an epoch too, sees the batches it would have seen: the position
    in the stream is the Trainer's own count of training batches, which Lightning keeps in its checkpoints. Outside a
    Trainer the training loader gives epoch ``epoch``.

    Args:
        batch_size: B, of one process; incomplete training batches are dropped.
        seed: of the shuffling.
        num_workers: loader processes; 0 is fastest for images in memory.
        validation_size: how many training images are held out for validation.
    """

    def __init__(self, *, batch_size: int, seed: int, num_workers: int, validation_size: int) -> None:
        super().__init__()
        for key, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("validation_size", validation_size, 1),
        ):
            if value < least:
                raise ValueError(f"data.{key}: must be at least {least}, got {value}")
        self.batch_size = batch_size
        self.seed = seed
        self.num_workers = num_workers
        self.validation_size = validation_size
        self.epoch = 0
        self._parts: Parts | None = None

    @property
    @abstractmethod
    def facts(self) -> DataFacts:
        """Known without reading the images."""

    @abstractmethod
    def read(self) -> Parts:
        """Read the images."""

    @property
    def parts(self) -> Parts:
        """The images, read when first asked for.

        Raises:
            ValueError: their intensities are not those of the facts, which exact likelihoods are computed from.
        """
        if self._parts is None:
            parts = self.read()
            for images in (parts.train, parts.validation, parts.test):
                if images.levels != self.facts.levels:
                    raise ValueError(f"data.facts: levels {self.facts.levels} against {images.levels} of the images")
            self._parts = parts
        return self._parts

    def still(self) -> Iterator[Batch]:
        for row_B in torch.arange(len(self.parts.train)).split(self.batch_size):
            yield self.parts.train.batch(row_B, known=True)

    def train_dataloader(self) -> DataLoader[Batch]:
        rank, world_size = self._rank()
        stream = TrainingStream(
            self.parts.train, batch_size=self.batch_size, seed=self.seed, rank=rank, world_size=world_size
        )
        return self._loader(stream, lambda: self._position(len(stream)))

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self._evaluation(self.parts.validation), None)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._loader(self._evaluation(self.parts.test), None)

    def _evaluation(self, images: Images) -> EvaluationBatches:
        rank, world_size = self._rank()
        return EvaluationBatches(images, batch_size=self.batch_size, rank=rank, world_size=world_size)

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
