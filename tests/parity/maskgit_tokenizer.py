"""MaskGIT-VQGAN as RAR and MaskGIT's reimplementations use it (arXiv 2202.04200, 2411.00776)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from arlab.checkpoints.importing import Found, fill
from arlab.checkpoints.maskgit_vq import MaskGITVQ
from arlab.data.facts import DataFacts
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.goldens import golden
from tests.parity.measured import Measured, Meter

METER = Meter("MaskGIT VQ")
IO = "maskgitvqA_io"


def published() -> VQTokenizer:
    family = MaskGITVQ()
    found = Found(Path("golden"), family, golden("maskgitvqA_state"))
    tokenizer = family.tokenizer(found.shapes, DataFacts("golden", 3, (32, 32)))
    fill(tokenizer, family.names(tokenizer), found)
    return tokenizer.eval()


def tokens() -> Iterator[Measured]:
    io, tokenizer = golden(IO), published()
    image_BCHW = io["image_01"] * 2 - 1
    z_BChw = tokenizer.autoencoder.encode(image_BCHW)
    yield METER.close("latents", z_BChw, io["encoder_out"], atol=2e-4, rtol=1e-4)
    quantized = tokenizer.quantizer(z_BChw)
    yield METER.exact("tokens", quantized.tokens, io["indices"])
    yield METER.exact("tokens of images", tokenizer.encode(image_BCHW), io["indices"])
    yield METER.close("codes", quantized.vectors, io["quant"], atol=2e-4, rtol=1e-4)
    yield METER.close("quantizer loss", quantized.loss[None], io["quant_loss"][None], rtol=1e-5)


def images() -> Iterator[Measured]:
    io, tokenizer = golden(IO), published()
    got_01 = (tokenizer.autoencoder.decode(io["quant"]) + 1) / 2
    yield METER.close("images, not clipped", got_01, io["recon_unclamped"], atol=2e-4, rtol=1e-4)
    got_01 = (tokenizer.decode(io["indices"]) + 1) / 2
    yield METER.close("images", got_01, io["recon_unclamped"].clamp(0, 1), atol=2e-4, rtol=1e-4)


QUANTITIES = (tokens, images)
