"""Pictures of what a generator draws, always the same classes and seeds.

Letters: B images, C channels, H and W sides.
"""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from arlab.configurable import Configurable
from arlab.generators.generator import Generator
from arlab.generators.sampler import Sampler
from arlab.images import image_grid, save_png
from arlab.ranges import require
from arlab.rng import mix_seed


class SampleGrid(L.Callback, Configurable):
    """After each validation: a row of samples per class, each image from a seed of its own, the same every time.

    The averaged weights are in place then. Written to ``samples/step-XXXXXX.png`` in the Trainer's
    ``default_root_dir`` and, where there is a TensorBoard logger, under ``val/samples``. Training is not disturbed:
    a sampler draws on random numbers of its own.

    Args:
        sampler: how to draw.
        num_per_class: images per row.
        num_classes: how many rows at most, the first classes.
        scale: every pixel becomes scale x scale pixels in the file.
    """

    def __init__(
        self, *, sampler: Sampler | None = None, num_per_class: int = 8, num_classes: int = 10, scale: int = 2
    ) -> None:
        require("num_per_class", num_per_class, at_least=1)
        require("num_classes", num_classes, at_least=1)
        require("scale", scale, at_least=1)
        self.sampler = Sampler() if sampler is None else sampler
        self.num_per_class = num_per_class
        self.num_classes = num_classes
        self.scale = scale

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, Generator):
            raise ValueError(
                f"trainer.callbacks: SampleGrid needs a Generator, the model is a {type(pl_module).__name__}"
            )
        # Now, not when the first images are drawn.
        self.sampler.check(pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # Not on_validation_end: the average of the weights is swapped out by then.
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Generator)
        rows = min(max(1, pl_module.facts.num_classes), self.num_classes)
        labels_B = torch.arange(rows).repeat_interleave(self.num_per_class)
        seeds = [mix_seed(0, image) for image in range(len(labels_B))]
        samples = self.sampler.sample(pl_module, labels_B, seeds=seeds)
        picture = image_grid(samples.images, self.num_per_class, scale=self.scale)
        save_png(picture, Path(trainer.default_root_dir) / "samples" / f"step-{trainer.global_step:06d}.png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/samples", picture, trainer.global_step, dataformats="HWC")
