"""Tiny files in the form of a release: LlamaGen's recorded model of 8 x 8 tokens, and a random tokenizer under it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.data.facts import DataFacts
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.similarity import Cosine
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_parts import AttentionLevels, LatentConvs
from tests.goldens import golden

GENERATOR = Path("gpt.pt")
TOKENIZER = Path("vq.pt")
SETTINGS = ["--family", "llamagen", "--set", "num_heads=4", "grid=[8,8]"]
IMPORT = ["import", str(GENERATOR), str(TOKENIZER), *SETTINGS]


def generator_tensors() -> dict[str, Tensor]:
    """Ten classes, 64 codes, width 64, two layers, four heads."""
    return golden("llamagenA_gpt_state")


def tokenizer_tensors() -> Mapping[str, Tensor]:
    """64 codes; a token stands for 2 x 2 pixels."""
    tokenizer = VQTokenizer(
        facts=DataFacts("imagenet", 3, (16, 16)),
        autoencoder=VQGANAutoencoder(
            channels=32,
            channel_multipliers=[1, 1],
            encoder_blocks=1,
            decoder_blocks=1,
            attention=AttentionLevels(encoder=[1], decoder=[1]),
            latent=LatentConvs(z_channels=8),
        ),
        quantizer=GradientVectorQuantizer(codebook_size=64, similarity=Cosine(), start_from_data=False, revive_below=0),
        token_width=4,
    )
    published = LlamaGenVQ().names(tokenizer).published(tokenizer.state_dict())
    return {name: value.detach().clone() for name, value in published.items()}


def write_release() -> None:
    """Both files, into the working directory."""
    torch.save({"model": generator_tensors(), "steps": 300}, GENERATOR)
    torch.save({"model": tokenizer_tensors()}, TOKENIZER)


def write_images(folder: Path, classes: int, each: int = 20) -> Path:
    """Pictures of one colour, 20 x 16, a folder for each class."""
    for number in range(classes):
        (folder / f"class{number}").mkdir(parents=True)
        for shade in range(each):
            colour = (255 * number // classes, 10 * shade, 128)
            Image.new("RGB", (20, 16), colour).save(folder / f"class{number}/{shade:02}.png")
    return folder
