"""The published names of TiTok's tokenizers (arXiv 2406.07550).

Letters: D width, P patches, S places of a half (a class and patches), K tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from arlab.checkpoints.names import BOTH, Names, Rule, Tensors, renamed, same
from arlab.checkpoints.vqgan_names import MASKGIT
from arlab.tokenizers.titok import TiTokAutoencoder
from arlab.tokenizers.titok_pixels import SoftCodes
from arlab.tokenizers.vq_tokenizer import VQTokenizer

CODEBOOK = "quantize.embedding.weight"
CODES = "pixel_quantize.embedding.weight"
"""Those of the other tokenizer, whose decoder makes the pixels."""
SOFT = "decoder.ffn.2.weight"
"""Of those alone that end in soft codes."""
_OWN = "autoencoder."
_BLOCK = {
    "ln_1": "attention_norm",
    "ln_2": "feed_forward_norm",
    "attn.out_proj": "attention.out",
    "mlp.c_fc": "feed_forward.fc1",
    "mlp.c_proj": "feed_forward.fc2",
}


def titok_names(tokenizer: VQTokenizer) -> Names:
    """The table of a tokenizer."""
    autoencoder = tokenizer.autoencoder
    assert isinstance(autoencoder, TiTokAutoencoder)
    soft = isinstance(autoencoder.pixels, SoftCodes)
    return Names(
        [
            same(CODEBOOK, "quantizer.codebook"),
            _encoder_places(),
            _queries(),
            _decoder_places(),
            same("decoder.latent_token_positional_embedding", f"{_OWN}token_places.table"),
            _flat("encoder.conv_out.weight", f"{_OWN}to_latent.weight"),
            same("encoder.conv_out.bias", f"{_OWN}to_latent.bias"),
            *renamed({"encoder.patch_embed": f"{_OWN}patch", "decoder.decoder_embed": f"{_OWN}from_latent"}, BOTH),
            *_tower_names("encoder", autoencoder.encoder.num_layers),
            *_tower_names("decoder", autoencoder.decoder.num_layers),
            *(_soft_names(tokenizer) if soft else _patch_names()),
        ]
    )


def _tower_names(half: str, num_layers: int) -> Iterator[Rule]:
    own = f"{_OWN}{half}_tower"
    yield from renamed({f"{half}.ln_pre": f"{own}.norm_in", f"{half}.ln_post": f"{own}.layers.norm"}, BOTH)
    for layer in range(num_layers):
        theirs, ours = f"{half}.transformer.{layer}", f"{own}.layers.blocks.{layer}"
        yield from renamed({f"{theirs}.{old}": f"{ours}.{new}" for old, new in _BLOCK.items()}, BOTH)
        for part in BOTH:
            yield same(f"{theirs}.attn.in_proj_{part}", f"{ours}.attention.qkv.{part}")


def _patch_names() -> Iterator[Rule]:
    own = f"{_OWN}to_image"
    yield from renamed({"decoder.ffn.0": f"{own}.to_pixels", "decoder.conv_out": f"{own}.conv_out"}, BOTH)


def _soft_names(tokenizer: VQTokenizer) -> Iterator[Rule]:
    own = f"{_OWN}to_image"
    yield from renamed({"decoder.ffn.0": f"{own}.hidden", "decoder.ffn.2": f"{own}.to_logits"}, BOTH)
    yield same(CODES, f"{own}.codes.table")
    for name in tokenizer.state_dict():
        if re.match(rf"{re.escape(own)}\.(decoder|conv_out)\.", name):
            ours = name.removeprefix(f"{own}.").removeprefix("decoder.")
            theirs = MASKGIT.named(f"decoder.{ours}", 0).removeprefix("decoder.")
            yield same(f"pixel_decoder.{theirs}", name)


# ---- what is published in several parts, of which only the sum is seen


def _encoder_places() -> Rule:
    """The first place is the class's."""

    def own(class_1D: Tensor, place_SD: Tensor) -> Tensors:
        return class_1D + place_SD[:1], place_SD[1:]

    def published(class_1D: Tensor, place_PD: Tensor) -> Tensors:
        return class_1D, torch.cat((torch.zeros_like(class_1D), place_PD))

    return Rule(
        ("encoder.class_embedding", "encoder.positional_embedding"),
        (f"{_OWN}encoder_class.table", f"{_OWN}patch_places.table"),
        own,
        published,
    )


def _queries() -> Rule:
    return Rule(
        ("latent_tokens", "encoder.latent_token_positional_embedding"),
        (f"{_OWN}queries.table",),
        lambda token_KD, place_KD: (token_KD + place_KD,),
        lambda query_KD: (query_KD, torch.zeros_like(query_KD)),
    )


def _decoder_places() -> Rule:
    """The vector of each patch is the mask's and its place."""

    def own(class_1D: Tensor, mask_11D: Tensor, place_SD: Tensor) -> Tensors:
        return class_1D + place_SD[:1], mask_11D[0] + place_SD[1:]

    def published(class_1D: Tensor, vector_PD: Tensor) -> Tensors:
        zero_1D = torch.zeros_like(class_1D)
        return class_1D, zero_1D[None], torch.cat((zero_1D, vector_PD))

    return Rule(
        ("decoder.class_embedding", "decoder.mask_token", "decoder.positional_embedding"),
        (f"{_OWN}decoder_class.table", f"{_OWN}patch_vectors.table"),
        own,
        published,
    )


def _flat(theirs: str, ours: str) -> Rule:
    """A 1 · 1 convolution that is a linear map here."""
    return Rule((theirs,), (ours,), lambda value: (value[..., 0, 0],), lambda value: (value[..., None, None],))
