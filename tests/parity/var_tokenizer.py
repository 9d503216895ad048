"""VAR's multi-scale VQVAE (arXiv 2404.02905)."""

from __future__ import annotations

from collections.abc import Iterator

from arlab.data.facts import DataFacts
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.phi import PhiConvolutions
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_parts import LatentConvs
from tests.goldens import golden
from tests.parity.measured import Measured, Meter
from tests.parity.vqgan_names import LDM, translated

METER = Meter("VAR VQ")
IO = "varA_io"


def quantizer() -> PyramidQuantizer:
    codebook = GradientVectorQuantizer(codebook_size=512, start_from_data=False, revive_below=0)
    made = PyramidQuantizer(
        pyramid=ScalePyramid(patch_nums=[1, 2, 3, 4]), quantizer=codebook, refinement=PhiConvolutions()
    )
    made.bind(16, (4, 4))
    _load(made)
    return made.eval()


def published() -> VQTokenizer:
    tokenizer = VQTokenizer(
        facts=DataFacts("golden", 3, (64, 64)),
        autoencoder=VQGANAutoencoder(
            channels=32,
            channel_multipliers=[1, 1, 2, 2, 4],
            encoder_blocks=2,
            decoder_blocks=3,
            latent=LatentConvs(quant_kernel=3),
        ),
        quantizer=quantizer(),
        token_width=16,
    )
    parts = ("enc", "decmid", "decup", "quant")
    weights = {key: value for part in parts for key, value in golden(f"varA_vae_{part}_fp16").items()}
    tokenizer.autoencoder.load_state_dict(translated(weights, LDM))
    _load(tokenizer.quantizer)
    return tokenizer.eval()


def _load(quantizer: PyramidQuantizer) -> None:
    weights = golden("varA_vae_quant_fp16")
    state = quantizer.state_dict()
    state["codebooks.0.codebook"] = weights["quantize.embedding.weight"]
    for level in range(4):
        for name in ("weight", "bias"):
            phi = weights[f"quantize.quant_resi.qresi_ls.{level}.{name}"]
            state[f"refinement.convolutions.{level}.{name}"] = phi
    quantizer.load_state_dict(state)


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
