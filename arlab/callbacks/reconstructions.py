"""Pictures of what a tokenizer keeps and loses.

Letters: B images, C channels, H and W sides, N tokens, R pictures of an image.
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
from arlab.ranges import require
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.tokenizer import Tokenizer


class Reconstructions(L.Callback, Configurable):
    """After each validation: the same images, each above its reconstruction.

    Where tokens lie on L levels there are 1 + L rows, from top to bottom: the images; what the decoder makes of the
    first level alone, of the first two, and so on; of all of them, which is the reconstruction. Where a decoder has
    learned to do with the first tokens of a sequence (nested dropout) there are four: the images; of the first quarter
    of the tokens; of the first half; of all. The same rows follow for the next images.

    Written to ``samples/step-XXXXXX.png`` in the Trainer's ``default_root_dir`` and, where there is a TensorBoard
    logger, under ``val/reconstructions``.

    Args:
        num_images: how many of the first validation batch.
        columns: images per row.
        scale: every pixel becomes scale x scale pixels in the file.
    """

    def __init__(self, *, num_images: int = 32, columns: int = 16, scale: int = 2) -> None:
        require("num_images", num_images, at_least=1)
        require("columns", columns, at_least=1)
        require("scale", scale, at_least=1)
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
        tokens = pl_module.encode(image_BCHW)
        partial = [pl_module.preview(tokens, known_N.expand(len(tokens), -1)) for known_N in _partly(pl_module, tokens)]
        rows = [image_BCHW, *partial, pl_module.decode(tokens)]
        picture = image_grid(_below(rows, self.columns), self.columns, scale=self.scale)
        name = f"step-{trainer.global_step:06d}.png"
        save_png(picture, Path(trainer.default_root_dir) / "samples" / name)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/reconstructions", picture, trainer.global_step, dataformats="HWC")


def _partly(tokenizer: Tokenizer, tokens: Tensor) -> list[Tensor]:
    """Which tokens are known, (N,) bool, in each of the pictures between the images and their reconstructions."""
    layout = tokenizer.layout
    level_N = layout.level_N.to(tokens.device)
    if len(layout.shapes) > 1:
        return [level_N <= level for level in range(len(layout.shapes) - 1)]
    lengths = tokenizer.prefix_lengths if isinstance(tokenizer, LearnedTokenizer) else []
    return [torch.arange(layout.num_tokens, device=tokens.device) < length for length in lengths]


def _below(rows_RBCHW: list[Tensor], columns: int) -> Tensor:
    """The first images of all rows one below the other, then the next ones; what a last row lacks is white."""
    cells = []
    for start in range(0, len(rows_RBCHW[0]), columns):
        for images_BCHW in rows_RBCHW:
            row_BCHW = images_BCHW[start : start + columns]
            missing = columns - len(row_BCHW)
            cells.append(torch.cat([row_BCHW, row_BCHW.new_ones(missing, *row_BCHW.shape[1:])]))
    return torch.cat(cells)
