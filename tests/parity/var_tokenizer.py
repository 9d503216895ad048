"""VAR's multi-scale VQVAE (arXiv 2404.02905)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from arlab.checkpoints.importing import Found, fill
from arlab.checkpoints.names import Names
from arlab.checkpoints.var_vq import VARVQ
from arlab.data.facts import DataFacts
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.goldens import golden
from tests.parity.measured import Measured, Meter

METER = Meter("VAR VQ")
IO = "varA_io"
SCALES = (1, 2, 3, 4)
FAMILY = VARVQ(patch_nums=[*SCALES])


def quantizer() -> PyramidQuantizer:
    """The golden's quantizer, which is a file of its own."""
    found = Found(Path("golden"), FAMILY, golden("varA_vae_quant_fp16"))
    made = FAMILY.quantizer(found.shapes)
    made.bind(16, (4, 4))
    own = dict(Names(FAMILY.quantizer_names(made)).own(found.tensors))
    made.load_state_dict(made.state_dict() | {name.removeprefix("quantizer."): value for name, value in own.items()})
    return made.eval()


def published() -> VQTokenizer:
    """The golden's tokenizer with its weights."""
    found = Found(Path("golden"), FAMILY, whole_file())
    tokenizer = FAMILY.tokenizer(found.shapes, DataFacts("golden", 3, (64, 64)))
    fill(tokenizer, FAMILY.names(tokenizer), found)
    return tokenizer.eval()


def whole_file() -> dict[str, Tensor]:
    """The golden's tensors, which lie in four files."""
    parts = ("enc", "decmid", "decup", "quant")
    return {name: value for part in parts for name, value in golden(f"varA_vae_{part}_fp16").items()}


def quantized() -> Iterator[Measured]:
    """What the quantizer makes of the recorded latents."""
    io, made = golden(IO), quantizer()
    got = made(io["f"])
    yield METER.exact("tokens", got.tokens, io["gt_BL"])
    yield METER.close("f̂, training", got.vectors, io["vq_forward_fhat"], atol=5e-5)
    yield METER.close("quantizer loss", got.loss[None], io["vq_loss"].reshape(1), rtol=1e-5)
    for level in range(4):
        here = got.tokens[:, made.layout.tokens(level)]
        yield METER.exact(f"tokens of scale {level}", here, io[f"idx_{level}"])
        canvas = made.assemble(made.vectors(got.tokens), level + 1)
        yield METER.close(f"f̂ {level}", canvas, io[f"fhat_{level}"], atol=5e-5)


def whole() -> Iterator[Measured]:
    """Images to tokens and back."""
    io, tokenizer = golden(IO), published()
    yield METER.close("latents", tokenizer.autoencoder.encode(io["img"]), io["f"], atol=5e-5)
    tokens = tokenizer.encode(io["img"])
    yield METER.exact("tokens of images", tokens, io["gt_BL"])
    yield METER.close("images", tokenizer.decode(tokens), io["rec"], atol=2e-4)
    first = tokenizer.autoencoder.decode(tokenizer.canvas(tokens, 1)).clamp(-1, 1)
    yield METER.close("images of scale 0", first, io["rec_scale0"], atol=2e-4)


QUANTITIES = (quantized, whole)
