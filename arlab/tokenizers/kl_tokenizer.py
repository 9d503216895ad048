"""Continuous tokens: a learned autoencoder whose latents are Gaussians.

Letters: B batch, C channels or vector width, H and W image sides, N tokens.
"""

from __future__ import annotations

from arlab.data.facts import DataFacts
from arlab.optimization import AdamW
from arlab.tokenizers.adversarial import Adversarial
from arlab.tokenizers.autoencoder import Autoencoder, ConvAutoencoder
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.losses import L1, ReconstructionLoss
from arlab.tokenizers.quantizers.kl import KL
from arlab.tokenizers.quantizers.quantizer import Quantizer


class KLTokenizer(LearnedTokenizer):
    """Image → encoder → mean and deviation → decoder → image; tokens are the scaled means, row by row.

    loss = reconstruction(x̂, x) + quantizer loss

        tokenizer = KLTokenizer(facts=FashionMNIST().facts)
        tokens = tokenizer.encode(image)                # (B, 1, 28, 28) -> (B, 49, 16)
        tokens, deviation = tokenizer.encoded(image)    # both (B, 49, 16): a draw is tokens + deviation · noise
        image = tokenizer.decode(tokens)                # (B, 49, 16) -> (B, 1, 28, 28)

    Logged: train/loss and train/kl (nats per image) or what else the quantizer tells; val/loss, val/kl and val/psnr in
    dB, of reconstructions from the means; the same under test.

    Auto-Encoding Variational Bayes, arXiv 1312.6114.

    Args:
        facts: of the data.
        autoencoder: the network.
        quantizer: from the encoder's latents to continuous tokens.
        token_width: C, the width of a token.
        reconstruction: what reconstructions are measured by in training.
        optimizer: of encoder and decoder.
        adversarial: a discriminator that reconstructions are to pass, and when; none by default.

    Raises:
        ValueError: the quantizer's tokens are discrete.
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
        adversarial: Adversarial | None = None,
    ) -> None:
        super().__init__(
            facts=facts,
            autoencoder=ConvAutoencoder() if autoencoder is None else autoencoder,
            quantizer=KL() if quantizer is None else quantizer,
            token_width=token_width,
            reconstruction=L1() if reconstruction is None else reconstruction,
            optimizer=AdamW() if optimizer is None else optimizer,
            adversarial=adversarial,
        )
        if self.quantizer.codebook_size is not None:
            name = type(self.quantizer).__name__
            raise ValueError(f"tokenizer.quantizer: {name} gives discrete tokens; the tokenizer for it is VQTokenizer")
