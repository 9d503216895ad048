"""Discrete tokens: a learned autoencoder with a codebook between its halves.

Letters: B batch, C channels or vector width, H and W image sides, N tokens.
"""

from __future__ import annotations

from arlab.data.facts import DataFacts
from arlab.optimization import AdamW
from arlab.tokenizers.adversarial import Adversarial
from arlab.tokenizers.autoencoder import Autoencoder, ConvAutoencoder
from arlab.tokenizers.learned import LearnedTokenizer
from arlab.tokenizers.losses import L1, ReconstructionLoss
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer


class VQTokenizer(LearnedTokenizer):
    """Image → encoder → nearest codes → decoder → image; tokens are the codes, level by level, row by row.

    loss = reconstruction(x̂, x) + quantizer loss

        tokenizer = VQTokenizer(facts=FashionMNIST().facts)
        tokens = tokenizer.encode(image)      # (B, 1, 28, 28) -> (B, 49)
        image = tokenizer.decode(tokens)      # (B, 49) -> (B, 1, 28, 28)

    Logged: train/loss, train/usage, train/revived (dead codes replaced in a step) or what else the quantizer tells;
    val/loss, val/psnr in dB, and val/usage and val/perplexity of the codebook over the whole validation part, of each
    level where there are several; the same under test.

    Neural Discrete Representation Learning, arXiv 1711.00937.

    Args:
        facts: of the data.
        autoencoder: the network.
        quantizer: the codebook, or several levels of one.
        token_width: C, the width of a code vector.
        reconstruction: what reconstructions are measured by in training.
        optimizer: of encoder and decoder.
        adversarial: a discriminator that reconstructions are to pass, and when; none by default.

    Raises:
        ValueError: the quantizer's tokens are not discrete.
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
            quantizer=VectorQuantizer() if quantizer is None else quantizer,
            token_width=token_width,
            reconstruction=L1() if reconstruction is None else reconstruction,
            optimizer=AdamW() if optimizer is None else optimizer,
            adversarial=adversarial,
        )
        if self.quantizer.codebook_size is None:
            name = type(self.quantizer).__name__
            raise ValueError(
                f"tokenizer.quantizer: {name} gives continuous tokens; the tokenizer for it is KLTokenizer"
            )
