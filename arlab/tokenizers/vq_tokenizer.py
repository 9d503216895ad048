"""Discrete tokens: a learned autoencoder with a vector quantizer between its halves.

Letters: B batch, C channels or vector width, H and W image sides, h and w latent sides, N = h · w tokens.
"""

from __future__ import annotations

from einops import rearrange
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio

from arlab.data.data import Batch
from arlab.data.facts import DataFacts
from arlab.optimization import AdamW
from arlab.orderings.step import Layout
from arlab.tokenizers.autoencoder import Autoencoder, ConvAutoencoder
from arlab.tokenizers.losses import L1, ReconstructionLoss
from arlab.tokenizers.quantizers.quantizer import CodeCounts, Quantizer, perplexity, usage
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.tokenizer import Tokenizer, required_facts
from arlab.tokens import TokenSpace


class VQTokenizer(Tokenizer):
    """Image → encoder → nearest codes → decoder → image; tokens are the codes, row by row.

    loss = reconstruction(x̂, x) + quantizer loss

        tokenizer = VQTokenizer(facts=FashionMNIST().facts)
        tokens = tokenizer.encode(image)      # (B, 1, 28, 28) -> (B, 49)
        image = tokenizer.decode(tokens)      # (B, 49) -> (B, 1, 28, 28)

    Logged: train/loss, train/usage, train/revived (dead codes replaced in a step); val/loss, val/psnr in dB, and
    val/usage and val/perplexity of the codebook over the whole validation part; the same under test.

    Neural Discrete Representation Learning, arXiv 1711.00937.

    Args:
        facts: of the data.
        autoencoder: the network.
        quantizer: the codebook.
        token_width: C, the width of a code vector.
        reconstruction: what reconstructions are measured by in training.
        optimizer: of encoder and decoder.
    """

    def __init__(
        self,
        *,
        facts: DataFacts | None = None,
        autoencoder: Autoencoder | None = None,
        quantizer: Quantizer | None = None,
        token_width: int = 16,
        reconstruction: ReconstructionLoss | None = None,
        optimizer: AdamW | None = None,
    ) -> None:
        super().__init__()
        if token_width < 1:
            raise ValueError(f"tokenizer.token_width: must be at least 1, got {token_width}")
        self.facts = required_facts(facts)
        self.autoencoder = ConvAutoencoder() if autoencoder is None else autoencoder
        self.quantizer = VectorQuantizer() if quantizer is None else quantizer
        self.reconstruction = L1() if reconstruction is None else reconstruction
        self.optimizer = AdamW() if optimizer is None else optimizer
        height, width = self.facts.image_size
        self.autoencoder.bind(self.facts.channels, self.facts.image_size, token_width)
        self.quantizer.bind(token_width)
        factor = self.autoencoder.downsampling
        self.layout = Layout(((height // factor, width // factor),))
        self.space = TokenSpace(token_width, self.quantizer.codebook_size)
        self.psnr = PeakSignalNoiseRatio(data_range=1.0)
        self.codes = CodeCounts(self.quantizer.codebook_size)

    # ---- tokens

    def encode(self, image_BCHW: Tensor) -> Tensor:
        ids_Bhw: Tensor = self.quantizer(self.autoencoder.encode(image_BCHW)).ids
        return rearrange(ids_Bhw, "b h w -> b (h w)")

    def decode(self, tokens: Tensor) -> Tensor:
        height, width = self.layout.shapes[0]
        z_BChw = rearrange(self.vectors(tokens), "b (h w) c -> b c h w", h=height, w=width)
        return self.autoencoder.decode(z_BChw).clamp(-1, 1)

    def vectors(self, tokens: Tensor) -> Tensor:
        return self.quantizer.lookup(tokens)

    # ---- training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        quantized = self.quantizer(self.autoencoder.encode(batch.image))
        loss: Tensor = self.reconstruction(self.autoencoder.decode(quantized.vectors), batch.image) + quantized.loss
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/usage", quantized.usage)
        self.log("train/revived", quantized.revived)
        return loss

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
        quantized = self.quantizer(self.autoencoder.encode(batch.image))
        reconstruction_BCHW = self.autoencoder.decode(quantized.vectors)
        loss = self.reconstruction(reconstruction_BCHW, batch.image) + quantized.loss
        self.log(f"{part}/loss", loss, batch_size=len(batch.image), sync_dist=True)
        self.psnr.update((reconstruction_BCHW.clamp(-1, 1) + 1) / 2, (batch.image + 1) / 2)
        self.codes.update(quantized.ids)

    def _report(self, part: str) -> None:
        counts_V = self.codes.compute()
        # These are over all processes already; sync_dist only keeps Lightning from warning that they might not be.
        self.log(f"{part}/psnr", self.psnr.compute(), prog_bar=True, sync_dist=True)
        self.log(f"{part}/usage", usage(counts_V), sync_dist=True)
        self.log(f"{part}/perplexity", perplexity(counts_V), sync_dist=True)
        self.psnr.reset()
        self.codes.reset()
