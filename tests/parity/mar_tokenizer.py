"""MAR (arXiv 2406.11838): the KL autoencoder of latent diffusion, its draws scaled to unit spread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from arlab.checkpoints.importing import Found, fill
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.data.facts import DataFacts
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.quantizers.kl import KL
from tests.goldens import golden
from tests.parity.measured import Measured, Meter

METER = Meter("MAR KL")
IO = "marA_vae_io"


def published() -> KLTokenizer:
    found = Found(Path("golden"), LDMKL(scale=0.2325), golden("marA_vae_state"))
    tokenizer = LDMKL(scale=0.2325).tokenizer(found.shapes, DataFacts("golden", 3, (32, 32)))
    fill(tokenizer, LDMKL(scale=0.2325).names(tokenizer), found)
    return tokenizer.eval()


def latents() -> Iterator[Measured]:
    io, tokenizer = golden(IO), published()
    moments = tokenizer.autoencoder.encode(io["image"])
    yield METER.close("moments", moments, io["moments"], atol=2e-4, rtol=1e-4)
    quantizer = tokenizer.quantizer
    assert isinstance(quantizer, KL)
    gaussian = quantizer.gaussian(moments)
    yield METER.close("mean", gaussian.mean, io["mean"], atol=2e-4, rtol=1e-4)
    yield METER.close("log variance", gaussian.log_variance, io["logvar"], atol=2e-4, rtol=1e-4)
    yield METER.close("deviation", gaussian.deviation, io["std"], atol=2e-4, rtol=1e-4)
    yield METER.close("KL, nats", gaussian.nats(), io["kl"], rtol=1e-5)
    yield METER.close("draw", gaussian.sample(io["eps"]), io["z"], atol=2e-4, rtol=1e-4)


def tokens() -> Iterator[Measured]:
    """Mean and deviation of the tokens, with the recorded noise, are the latents that MAR is trained on."""
    io, tokenizer = golden(IO), published()
    mean_BNC, deviation_BNC = tokenizer.encoded(io["image"])
    assert deviation_BNC is not None
    drawn_BNC = mean_BNC + deviation_BNC * io["eps"].flatten(2).transpose(1, 2)
    expected_BNC = io["scaled_latent"].flatten(2).transpose(1, 2)
    yield METER.close("tokens", drawn_BNC, expected_BNC, atol=2e-4, rtol=1e-4)
    yield METER.close("images", tokenizer.decode(expected_BNC), io["recon"].clamp(-1, 1), atol=2e-4, rtol=1e-4)
    unclipped = tokenizer.autoencoder.decode(tokenizer.quantizer.assemble(expected_BNC))
    yield METER.close("images, not clipped", unclipped, io["recon"], atol=2e-4, rtol=1e-4)


QUANTITIES = (latents, tokens)
