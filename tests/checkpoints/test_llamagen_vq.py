"""The released weights of LlamaGen's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.data.facts import DataFacts
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.similarity import Cosine, Euclidean, Similarity
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_parts import AttentionLevels, LatentConvs
from tests.checkpoints.laws import SEEDS, dice, tokenizer_round_trip


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    multipliers = [1, *(rng.choice([1, 2]) for _ in range(rng.randint(1, 2)))]
    lowest = [len(multipliers) - 1]
    similarity: Similarity = Cosine() if seed % 2 == 0 else Euclidean()
    tokenizer = VQTokenizer(
        facts=DataFacts("imagenet", 3, (256, 256)),
        autoencoder=VQGANAutoencoder(
            channels=32,
            channel_multipliers=multipliers,
            encoder_blocks=rng.randint(1, 2),
            decoder_blocks=rng.randint(1, 3),
            attention=AttentionLevels(encoder=lowest, decoder=lowest),
            latent=LatentConvs(z_channels=rng.choice([8, 16])),
        ),
        quantizer=GradientVectorQuantizer(
            codebook_size=rng.randint(5, 50), similarity=similarity, start_from_data=False, revive_below=0
        ),
        token_width=rng.choice([4, 8]),
    )
    tokenizer_round_trip(LlamaGenVQ(codebook_l2_norm=seed % 2 == 0), tokenizer, tmp_path)
