"""Pictures of what a tokenizer keeps and loses.

Letters: B images, C channels, H and W sides.
"""

from __future__ import annotations

from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from arlab.configurable import Configurable
from arlab.data.data import Batch
from arlab.images import image_grid, save_png
from arlab.tokenizers.tokenizer import Tokenizer


class Reconstructions(L.Callback, Configurable):
    """After each validation: the same images, each above its reconstruction.

    Written to ``samples/step-XXXXXX.png`` in the Trainer's ``default_root_dir`` and, where there is a TensorBoard
    logger, under ``val/reconstructions``.

    Args:
        num_images: how many of the first validation batch.
        columns: images per row.
        scale: every pixel becomes scale x scale pixels in the file.
    """

    def __init__(self, *, num_images: int = 32, columns: int = 16, scale: int = 2) -> None:
        if num_images < 1 or columns < 1 or scale < 1:
            raise ValueError(f"num_images, columns, scale: must be at least 1, got {num_images}, {columns}, {scale}")
        self.num_images = num_images
        self.columns = columns
        self.scale = scale
        self._image_BCHW: Tensor | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if not isinstance(pl_module, Tokenizer):
            raise ValueError(
                f"trainer.callbacks: Reconstructions needs a Tokenizer, the model is a {type(pl_module).__name__}"
            )

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if batch_idx == 0 and dataloader_idx == 0:
            self._image_BCHW = batch.image[: self.num_images]

    @torch.no_grad()
    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero or self._image_BCHW is None:
            return
        assert isinstance(pl_module, Tokenizer)
        image_BCHW = self._image_BCHW
        reconstruction_BCHW = pl_module.decode(pl_module.encode(image_BCHW))
        picture = image_grid(_above(image_BCHW, reconstruction_BCHW, self.columns), self.columns, scale=self.scale)
        name = f"step-{trainer.global_step:06d}.png"
        save_png(picture, Path(trainer.default_root_dir) / "samples" / name)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/reconstructions", picture, trainer.global_step, dataformats="HWC")


def _above(upper_BCHW: Tensor, lower_BCHW: Tensor, columns: int) -> Tensor:
    """Rows of ``upper`` alternating with the rows of ``lower`` that belong to them; the last row is filled white."""
    rows = []
    for start in range(0, len(upper_BCHW), columns):
        for row_BCHW in (upper_BCHW[start : start + columns], lower_BCHW[start : start + columns]):
            missing = columns - len(row_BCHW)
            rows.append(torch.cat([row_BCHW, row_BCHW.new_ones(missing, *row_BCHW.shape[1:])]))
    return torch.cat(rows)
