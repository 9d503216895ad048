"""LlamaGen's VQGAN (arXiv 2406.06525)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from arlab.checkpoints.importing import Found, fill
from arlab.checkpoints.llamagen_vq import LlamaGenVQ
from arlab.configurable import from_spec
from arlab.data.facts import DataFacts
from arlab.tokenizers.quantizers.entropy import EntropyLoss
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.goldens import golden
from tests.parity.measured import Measured, Meter

METER = Meter("LlamaGen VQ")
IO = "llamagenA_vq_io"
FAMILY = LlamaGenVQ()


def published() -> VQTokenizer:
    found = Found(Path("golden"), FAMILY, golden("llamagenA_vq_state"))
    spec: Any = FAMILY.tokenizer(found.shapes, DataFacts("golden", 3, (32, 32))).spec()
    # Tensors do not tell what they were trained with; the recorded losses hold one that the releases do without.
    spec["init_args"]["quantizer"]["init_args"]["entropy"] = EntropyLoss(weight=0.1, temperature=0.01).spec()
    tokenizer = from_spec(spec, VQTokenizer)
    fill(tokenizer, FAMILY.names(tokenizer), found)
    return tokenizer.eval()


def tokens() -> Iterator[Measured]:
    io, tokenizer = golden(IO), published()
    encoded = tokenizer.autoencoder.encoder(io["image"])
    yield METER.close("latents", encoded, io["encoder_out"], atol=2e-4, rtol=1e-4)
    z_BChw = tokenizer.autoencoder.encode(io["image"])
    yield METER.close("latents, 1 · 1", z_BChw, io["prequant"], atol=2e-4, rtol=1e-4)
    quantized = tokenizer.quantizer(z_BChw)
    yield METER.exact("tokens", quantized.tokens, io["indices"].flatten(1))
    yield METER.close("codes", quantized.vectors, io["quant"], atol=2e-4, rtol=1e-4)


def images() -> Iterator[Measured]:
    io, tokenizer = golden(IO), published()
    ids = {"recon": io["indices"], "decode_code_img": io["indices"], "random_decode": io["random_indices"]}
    for name, ids_Bhw in ids.items():
        codes = tokenizer.quantizer.assemble(tokenizer.vectors(ids_Bhw.flatten(1)))
        got = tokenizer.autoencoder.decode(codes)
        yield METER.close(f"images ({name})", got, io[name], atol=2e-4, rtol=1e-4)


def training() -> Iterator[Measured]:
    """Losses and gradients of mean (x̂ - x)² + codebook + commitment + entropy."""
    io, tokenizer = golden(IO), published().train()
    quantizer = tokenizer.quantizer
    assert isinstance(quantizer, GradientVectorQuantizer)
    z_BChw = tokenizer.autoencoder.encode(io["image"])
    coded = quantizer.quantise(z_BChw.movedim(1, -1).flatten(0, -2))
    expected = io["train_vq_loss"] + io["train_commit_loss"]
    yield METER.close("codebook and commitment loss", coded.loss - coded.regularizer, expected, rtol=1e-5)
    yield METER.close("entropy loss", coded.regularizer, io["train_entropy_loss"], rtol=1e-5)

    quantized = quantizer(z_BChw)
    loss = F.mse_loss(tokenizer.autoencoder.decode(quantized.vectors), io["image"]) + quantized.loss
    yield METER.close("loss", loss, io["train_total_loss"], rtol=1e-5)
    loss.backward()
    ours = {name: weight.grad for name, weight in tokenizer.named_parameters() if weight.grad is not None}
    found = FAMILY.names(tokenizer).published(ours)
    for key in sorted(key for key in io if key.startswith("grad.")):
        yield METER.scaled(f"∂ loss / ∂ {key[5:]}", found[key[5:]], io[key], 1e-3)
    norm = torch.stack([each.double().norm() for each in found.values()]).norm()
    yield METER.close("gradient norm", norm, io["train_grad_norm"].double(), rtol=1e-4)


QUANTITIES = (tokens, images, training)
