"""What learned tokenizers share: an autoencoder with a quantizer between its halves, its training and its figures.

Letters: B batch, C channels or vector width, H and W image sides, N tokens, L levels, V codebook size.
"""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn, optim
from torchmetrics.image import PeakSignalNoiseRatio

from arlab.data.data import Batch, ImageData
from arlab.data.facts import DataFacts
from arlab.optimization import AdamW
from arlab.orderings.step import Layout
from arlab.pyramids.interpolation import Nearest, area
from arlab.pyramids.pyramid import Pyramid
from arlab.ranges import require
from arlab.tokenizers.adversarial import Adversarial
from arlab.tokenizers.autoencoder import Autoencoder
from arlab.tokenizers.losses import ReconstructionLoss
from arlab.tokenizers.quantizers.quantizer import (
    CodeCounts,
    Quantized,
    Quantizer,
    count_codes,
    perplexity,
    usage,
    whole,
)
from arlab.tokenizers.tokenizer import Encoded, Tokenizer, required_facts
from arlab.tokens import TokenSpace

_WIDEST = 2**16
_PREFIXES = (0.25, 0.5)


class LearnedTokenizer(Tokenizer, ABC):
    """Image → encoder → quantizer → decoder → image.

    loss = reconstruction(x̂, x) + quantizer loss (+ what a discriminator adds)

    Logged: train/loss, train/usage and the quantizer's own figures; val/loss, val/psnr in dB, and val/usage and
    val/perplexity of the codebook over the whole validation part, of each level where there are several
    (val/usage_level_0, ...); with nested dropout also the psnr of what the decoder makes of a quarter and of half of
    the tokens (val/psnr_prefix8, val/psnr_prefix16 of 32); the same under test.

    Args:
        facts: of the data.
        autoencoder: the network.
        quantizer: from latent vectors to tokens.
        token_width: C, the width of a token's vector.
        reconstruction: what reconstructions are measured by in training.
        optimizer: of encoder and decoder.
        adversarial: a discriminator that reconstructions are to pass, and when; none by default.
    """

    def __init__(
        self,
        *,
        facts: DataFacts | None,
        autoencoder: Autoencoder,
        quantizer: Quantizer,
        token_width: int,
        reconstruction: ReconstructionLoss,
        optimizer: AdamW,
        adversarial: Adversarial | None = None,
    ) -> None:
        super().__init__()
        require("tokenizer.token_width", token_width, at_least=1, at_most=_WIDEST)
        self.facts = required_facts(facts)
        self.autoencoder = autoencoder
        self.quantizer = quantizer
        self.reconstruction = reconstruction
        self.optimizer = optimizer
        self.adversarial = adversarial
        shape = autoencoder.latent_shape(self.facts.image_size)
        encoder_width = quantizer.encoder_width(token_width)
        autoencoder.bind(self.facts.channels, self.facts.image_size, token_width, encoder_width)
        quantizer.bind(token_width, shape)
        self._refuse_one_size()
        if adversarial is not None:
            adversarial.bind(self.facts.channels, self.facts.image_size)
        self.layout = quantizer.layout
        self.space = TokenSpace(token_width, quantizer.codebook_size)
        self.psnr = PeakSignalNoiseRatio(data_range=1.0)
        self.prefix_psnrs = nn.ModuleList(PeakSignalNoiseRatio(data_range=1.0) for _ in self.prefix_lengths)
        self.codes = CodeCounts(self.layout, quantizer.codebook_size or 0) if quantizer.counted else None

    def _refuse_one_size(self) -> None:
        """See that what would be given several sizes in training takes them."""
        if len(self.quantizer.decoded) == 1:
            return
        if not self.autoencoder.decodes_any_grid:
            name = type(self.autoencoder).__name__
            raise ValueError(
                f"tokenizer.autoencoder: {name} decodes one size only, not that of each level of "
                "quantizer.random_level; choose ConvAutoencoder or VQGANAutoencoder, or leave random_level out"
            )
        if self.adversarial is not None:
            raise ValueError(
                "tokenizer.adversarial: its discriminator judges one size only, not that of each level of "
                "quantizer.random_level; leave one of them out"
            )

    def refuse_data(self, data: ImageData) -> None:
        """As every model; and what measures reconstructions must take such images, and have its weights."""
        super().refuse_data(data)
        for height, width in self._decoded_sizes():
            nothing_BCHW = torch.zeros(1, self.facts.channels, height, width, device=self.device)
            with torch.no_grad():
                self.reconstruction(nothing_BCHW, nothing_BCHW)

    def _decoded_sizes(self) -> list[tuple[int, int]]:
        """The sizes of image that the decoder makes in training."""
        height, width = self.facts.image_size
        if len(self.quantizer.decoded) == 1:
            return [(height, width)]
        rows, columns = self.layout.finest
        return [(height * grid[0] // rows, width * grid[1] // columns) for grid in self.quantizer.decoded]

    # ---- tokens

    def encode(self, image_BCHW: Tensor) -> Tensor:
        return self.encoded(image_BCHW).tokens

    def encoded(self, image_BCHW: Tensor) -> Encoded:
        quantized = self._quantized(image_BCHW)
        return Encoded(quantized.tokens, quantized.deviation)

    def decode(self, tokens: Tensor) -> Tensor:
        return self.autoencoder.decode(self.quantizer.assemble(self.vectors(tokens))).clamp(-1, 1)

    def vectors(self, tokens: Tensor) -> Tensor:
        return self.quantizer.vectors(tokens)

    def canvas(self, tokens: Tensor, level: int) -> Tensor:
        if len(self.layout.shapes) == 1:
            return super().canvas(tokens, level)
        return self.quantizer.assemble(self.vectors(tokens), level)

    def canvases(self, tokens: Tensor, levels: Sequence[int]) -> list[Tensor]:
        return self.quantizer.canvases(self.vectors(tokens), levels)

    @property
    def pyramid(self) -> Pyramid | None:
        return self.quantizer.pyramid

    def at(self, layout: Layout) -> Tokenizer:
        if layout == self.layout:
            return self
        quantizer = self.quantizer.at(layout)
        if layout.finest != self.layout.finest and not self.autoencoder.decodes_any_grid:
            name = type(self.autoencoder).__name__
            raise ValueError(f"tokenizer.autoencoder: {name} decodes latents of {self.layout.finest} only")
        # A shallow copy has the weights, and what it is given instead must not reach the original.
        twin = copy.copy(self)
        twin._modules = {**self._modules, "quantizer": quantizer}
        twin.layout = layout
        if layout.num_axes == 2:
            (height, width), (rows, columns) = self.facts.image_size, self.layout.finest
            size = (height * layout.finest[0] // rows, width * layout.finest[1] // columns)
            twin.facts = dataclasses.replace(self.facts, image_size=size)
        return twin

    def preview(self, tokens: Tensor, known_BN: Tensor) -> Tensor:
        """Of tokens on several levels: the levels of which anything is known, its unknown vectors zero.

        Of a sequence of tokens: what the decoder makes of the known ones; where it lies on several levels, of those
        vectors of which a token of any level is known.
        """
        if len(self.layout.shapes) == 1 and self.layout.num_axes == 2:
            return super().preview(tokens, known_BN)
        filler = known_BN.reshape(*known_BN.shape, *(1,) * (tokens.dim() - 2))
        vectors_BNC = self.vectors(tokens.where(filler, 0)) * known_BN[..., None]
        if len(self.layout.shapes) == 1:
            known = known_BN.unflatten(1, self.layout.shapes[0])
            return self.autoencoder.decode_known(self.quantizer.assemble(vectors_BNC), known).clamp(-1, 1)
        known_N = known_BN.any(0)
        levels = int(self.layout.level_N[known_N.cpu()].max()) + 1 if bool(known_N.any()) else 0
        z = self.quantizer.shown(vectors_BNC, levels)
        if self.layout.num_axes == 1:
            return self.autoencoder.decode_known(z, self._covered(known_BN, tuple(z.shape[2:]))).clamp(-1, 1)
        image_BCHW = self.autoencoder.decode(z)
        return Nearest()(image_BCHW, self.facts.image_size).clamp(-1, 1)

    def _covered(self, known_BN: Tensor, shape: tuple[int, ...]) -> Tensor:
        """For which vectors of a latent map a token of any level is known, (B, *shape) bool."""
        covered = known_BN.new_zeros(len(known_BN), *shape)
        for level, grid in enumerate(self.layout.shapes):
            known = known_BN[:, self.layout.tokens(level)].unflatten(1, grid)
            covered |= Nearest()(known[:, None].float(), shape)[:, 0] > 0
        return covered

    @property
    def prefix_lengths(self) -> list[int]:
        """A quarter and half of a sequence of tokens, where the decoder has learned to do with them alone."""
        if not self.autoencoder.decodes_prefixes:
            return []
        count = self.layout.finest[0]
        return sorted({max(1, round(share * count)) for share in _PREFIXES} - {count})

    def _quantized(self, image_BCHW: Tensor) -> Quantized:
        quantized: Quantized = self.quantizer(self.autoencoder.encode(image_BCHW))
        return quantized

    # ---- training

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor | None]:
        """Gives callbacks the loss, the ``tokens`` of the batch and their ``deviation``."""
        quantized = self._quantized(batch.image)
        reconstruction_BCHW = self.autoencoder.decode(quantized.vectors)
        # Where a coarser level was decoded, the image of its size.
        image_BCHW = area(batch.image, tuple(reconstruction_BCHW.shape[2:]))
        distance = self.reconstruction(reconstruction_BCHW, image_BCHW)
        loss: Tensor = distance + quantized.loss
        if self.adversarial is not None:
            loss = loss + self._play(self.adversarial, batch.image, reconstruction_BCHW, distance)
        self.log("train/loss", loss, prog_bar=True)
        if self.codes is not None:
            counts_LV = count_codes(quantized.tokens, self.layout, self.codes.codebook_size)
            self.log("train/usage", usage(whole(counts_LV, self.quantizer.own_codebooks)))
        self.log_dict({f"train/{name}": figure for name, figure in quantized.figures.items()})
        deviation = None if quantized.deviation is None else quantized.deviation.detach()
        return {"loss": loss, "tokens": quantized.tokens.detach(), "deviation": deviation}

    def _play(self, game: Adversarial, image_BCHW: Tensor, reconstruction_BCHW: Tensor, distance: Tensor) -> Tensor:
        share = 1 / self.trainer.accumulate_grad_batches
        last_layer = self.autoencoder.last_layer
        turn = game.play(image_BCHW, reconstruction_BCHW, distance, last_layer, step=self.global_step, share=share)
        self.log_dict({f"train/{name}": figure for name, figure in turn.figures.items()})
        self.log("train/reconstruction", distance)
        self.other_losses = {f"train/{name}": loss for name, loss in turn.own.items()}
        return turn.loss

    def on_fit_start(self) -> None:
        """Get the discriminator ready."""
        if self.adversarial is not None:
            self.adversarial.begin(self.trainer, self.autoencoder.last_layer)

    def on_before_optimizer_step(self, optimizer: optim.Optimizer) -> None:
        """A step of the discriminator with each of the tokenizer; all gradients are there."""
        if self.adversarial is not None:
            self.adversarial.opponent.update(self.trainer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        if self.adversarial is not None:
            self.adversarial.opponent.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the discriminator, if this is to train."""
        if self.adversarial is not None and self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.adversarial.opponent.load(checkpoint)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return self.optimizer.build(self, int(self.trainer.estimated_stepping_batches))

    # ---- evaluation

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("test", batch)

    def on_validation_epoch_end(self) -> None:
        self._report("val")

    def on_test_epoch_end(self) -> None:
        self._report("test")

    def _evaluate(self, part: str, batch: Batch) -> None:
        quantized = self._quantized(batch.image)
        reconstruction_BCHW = self.autoencoder.decode(quantized.vectors)
        loss = self.reconstruction(reconstruction_BCHW, batch.image) + quantized.loss
        size = len(batch.image)
        self.log(f"{part}/loss", loss, batch_size=size, sync_dist=True)
        figures = {f"{part}/{name}": figure for name, figure in quantized.figures.items()}
        self.log_dict(figures, batch_size=size, sync_dist=True)
        _compare(self.psnr, reconstruction_BCHW, batch.image)
        for length, psnr in zip(self.prefix_lengths, self.prefix_psnrs, strict=True):
            known_K = torch.arange(self.layout.finest[0], device=self.device) < length
            assert isinstance(psnr, PeakSignalNoiseRatio)
            prefix_BCHW = self.autoencoder.decode_known(quantized.vectors, known_K.expand(size, -1))
            _compare(psnr, prefix_BCHW, batch.image)
        if self.codes is not None:
            self.codes.update(quantized.tokens)

    def _report(self, part: str) -> None:
        # These are over all processes already; sync_dist only keeps Lightning from warning that they might not be.
        self.log(f"{part}/psnr", self.psnr.compute(), prog_bar=True, sync_dist=True)
        self.psnr.reset()
        for length, psnr in zip(self.prefix_lengths, self.prefix_psnrs, strict=True):
            assert isinstance(psnr, PeakSignalNoiseRatio)
            self.log(f"{part}/psnr_prefix{length}", psnr.compute(), sync_dist=True)
            psnr.reset()
        if self.codes is None:
            return
        counts_LV = self.codes.compute()
        self.codes.reset()
        for name, figure in (("usage", usage), ("perplexity", perplexity)):
            self.log(f"{part}/{name}", figure(whole(counts_LV, self.quantizer.own_codebooks)), sync_dist=True)
            if len(counts_LV) > 1:
                each_L = figure(counts_LV)
                levels = {f"{part}/{name}_level_{level}": each_L[level] for level in range(len(each_L))}
                self.log_dict(levels, sync_dist=True)


def _compare(psnr: PeakSignalNoiseRatio, reconstruction_BCHW: Tensor, image_BCHW: Tensor) -> None:
    """Count images and their reconstructions in; both in [-1, 1], the latter where clipped."""
    psnr.update((reconstruction_BCHW.clamp(-1, 1) + 1) / 2, (image_BCHW + 1) / 2)
