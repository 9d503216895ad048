"""The released weights of MaskGIT's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.checkpoints.maskgit_vq import MaskGITVQ
from arlab.data.facts import DataFacts
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_parts import AttentionLevels, AveragePool, LatentConvs, OutputShortcut
from tests.checkpoints.laws import SEEDS, dice, tokenizer_round_trip


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    rng = dice(seed)
    blocks = rng.randint(1, 2)
    tokenizer = VQTokenizer(
        facts=DataFacts("imagenet", 3, (256, 256)),
        autoencoder=VQGANAutoencoder(
            channels=32,
            channel_multipliers=[1, *(rng.choice([1, 2]) for _ in range(rng.randint(0, 2)))],
            encoder_blocks=blocks,
            decoder_blocks=blocks,
            middle_blocks=blocks,
            attention=AttentionLevels(encoder=[], decoder=[], middle=False),
            latent=LatentConvs(last_kernel=1, quant_kernel=None),
            downsample=AveragePool(),
            shortcut=OutputShortcut(),
            bias=False,
            image_range=(0, 1),
        ),
        quantizer=GradientVectorQuantizer(codebook_size=rng.randint(5, 50), start_from_data=False, revive_below=0),
        token_width=rng.choice([4, 16]),
    )
    tokenizer_round_trip(MaskGITVQ(), tokenizer, tmp_path)
