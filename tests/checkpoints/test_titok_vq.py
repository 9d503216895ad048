"""The released weights of TiTok's tokenizers, and what the published tensors mean.

Letters: B batch, S slots, D width, K tokens, V codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import MLP, Activation
from arlab.backbones.norms import LayerNorm
from arlab.checkpoints.importing import import_released, recognise
from arlab.checkpoints.shapes import Shapes
from arlab.checkpoints.sizes import ratio_of
from arlab.checkpoints.titok_vq import TiTokVQ
from arlab.data.facts import DataFacts
from arlab.tokenizers.quantizers.gradient_vq import GradientVectorQuantizer
from arlab.tokenizers.quantizers.similarity import Cosine, Euclidean
from arlab.tokenizers.titok import TiTokAutoencoder, Tower
from arlab.tokenizers.titok_pixels import PatchPixels, Pixels, SoftCodes
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokenizers.vqgan_parts import OutputShortcut
from tests.checkpoints.laws import SEEDS, dice, shaken, tokenizer_round_trip

HEAD_WIDTH = 4


def tiny(seed: int, *, soft: bool, patch_size: int = 32, image_size: int = 256) -> VQTokenizer:
    rng = dice(seed)
    levels = patch_size.bit_length() - 1
    pixels: Pixels = PatchPixels()
    if soft:
        pixels = SoftCodes(
            codebook_size=rng.randint(3, 9),
            code_width=rng.choice([3, 5]),
            channels=32,
            channel_multipliers=[1, *(rng.choice([1, 2]) for _ in range(levels))],
            blocks=rng.randint(1, 2),
            shortcut=OutputShortcut(),
            norm_groups=32,
        )

    def tower() -> Tower:
        num_heads = rng.randint(1, 3)
        return Tower(
            width=num_heads * HEAD_WIDTH,
            num_layers=rng.randint(1, 3),
            attention=Attention(num_heads=num_heads, qkv_bias=True, out_bias=True),
            feed_forward=MLP(ratio=ratio_of(rng.randint(1, 40), num_heads * HEAD_WIDTH), activation=Activation.GELU),
            norm=LayerNorm(eps=1e-5),
        )

    return VQTokenizer(
        facts=DataFacts("imagenet", 3, (image_size, image_size)),
        autoencoder=TiTokAutoencoder(
            patch_size=patch_size,
            num_tokens=rng.randint(1, 9),
            encoder=tower(),
            decoder=tower(),
            pixels=pixels,
            legacy_reshape=soft,
            image_range=(0, 1),
        ),
        quantizer=GradientVectorQuantizer(
            codebook_size=rng.randint(5, 50),
            similarity=Cosine() if rng.random() < 0.5 else Euclidean(),
            start_from_data=False,
            revive_below=0,
        ),
        token_width=rng.choice([4, 12]),
    )


def family_of(tokenizer: VQTokenizer) -> TiTokVQ:
    quantizer = tokenizer.quantizer
    assert isinstance(quantizer, GradientVectorQuantizer)
    return TiTokVQ(cosine=isinstance(quantizer.similarity, Cosine), head_width=HEAD_WIDTH)


def published(tokenizer: VQTokenizer) -> dict[str, Tensor]:
    """Its tensors as they would be published, each table with values of its own."""
    shaken(tokenizer, 4)
    tensors = family_of(tokenizer).names(tokenizer).published(tokenizer.state_dict())
    rng = torch.Generator().manual_seed(5)
    return {name: 0.3 * torch.randn(value.shape, generator=rng) for name, value in tensors.items()}


@pytest.mark.parametrize("soft", [False, True], ids=["one stage", "two stages"])
@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, soft: bool, tmp_path: Path) -> None:
    tokenizer = tiny(seed, soft=soft)
    tokenizer_round_trip(family_of(tokenizer), tokenizer, tmp_path)


# ---- what the tensors mean


def tower(h_BSD: Tensor, tensors: Mapping[str, Tensor], half: str) -> Tensor:
    """The published transformer, of functions alone."""

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    h_BSD = norm(h_BSD, f"{half}.ln_pre")
    layer = 0
    while (block := f"{half}.transformer.{layer}") + ".ln_1.weight" in tensors:
        qkv = F.linear(
            norm(h_BSD, f"{block}.ln_1"), tensors[f"{block}.attn.in_proj_weight"], tensors[f"{block}.attn.in_proj_bias"]
        )
        q, k, v = (x.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2) for x in qkv.chunk(3, dim=-1))
        mixed = ((q @ k.mT / HEAD_WIDTH**0.5).softmax(-1) @ v).transpose(1, 2).flatten(2)
        weights = [tensors[f"{block}.{name}"] for name in ("attn.out_proj.weight", "attn.out_proj.bias")]
        h_BSD = h_BSD + F.linear(mixed, *weights)
        first = [tensors[f"{block}.mlp.c_fc.{part}"] for part in ("weight", "bias")]
        second = [tensors[f"{block}.mlp.c_proj.{part}"] for part in ("weight", "bias")]
        h_BSD = h_BSD + F.linear(F.gelu(F.linear(norm(h_BSD, f"{block}.ln_2"), *first)), *second)
        layer += 1
    return norm(h_BSD, f"{half}.ln_post")


def imported(tokenizer: VQTokenizer, tensors: dict[str, Tensor], folder: Path) -> VQTokenizer:
    path = folder / "tokenizer.safetensors"
    save_file(tensors, path)
    found = recognise(path, [family_of(tokenizer)])
    made = import_released(None, found, image_size=tokenizer.facts.image_size)
    assert isinstance(made, VQTokenizer)
    return made


@pytest.mark.parametrize("soft", [False, True], ids=["one stage", "two stages"])
def test_latents_are_those_of_the_published_tensors(soft: bool, tmp_path: Path) -> None:
    tokenizer = tiny(1, soft=soft, patch_size=8, image_size=24)
    tensors = published(tokenizer)
    image = torch.rand(2, 3, 24, 24)
    patches = F.conv2d(image, tensors["encoder.patch_embed.weight"], tensors["encoder.patch_embed.bias"], stride=8)
    first = tensors["encoder.class_embedding"].expand(2, -1, -1)
    queries = tensors["latent_tokens"] + tensors["encoder.latent_token_positional_embedding"]
    shown = torch.cat((first, patches.flatten(2).transpose(1, 2)), 1) + tensors["encoder.positional_embedding"]
    out = tower(torch.cat((shown, queries.expand(2, -1, -1)), 1), tensors, "encoder")[:, 10:]
    number, width = queries.shape
    laid = out.reshape(2, width, number, 1) if soft else out.transpose(1, 2)[..., None]
    z = F.conv2d(laid, tensors["encoder.conv_out.weight"], tensors["encoder.conv_out.bias"])[..., 0]
    torch.testing.assert_close(imported(tokenizer, tensors, tmp_path).autoencoder.encode(image * 2 - 1), z)


@pytest.mark.parametrize("soft", [False, True], ids=["one stage", "two stages"])
def test_patches_are_those_of_the_published_tensors(soft: bool, tmp_path: Path) -> None:
    tokenizer = tiny(1, soft=soft, patch_size=8, image_size=24)
    tensors = published(tokenizer)
    made = imported(tokenizer, tensors, tmp_path)
    z = torch.randn(2, tokenizer.space.width, tokenizer.layout.num_tokens)
    tokens = F.linear(z.mT, tensors["decoder.decoder_embed.weight"], tensors["decoder.decoder_embed.bias"])
    tokens = tokens + tensors["decoder.latent_token_positional_embedding"]
    masks = tensors["decoder.mask_token"].expand(2, 9, -1)
    shown = torch.cat((tensors["decoder.class_embedding"].expand(2, -1, -1), masks), 1)
    shown = shown + tensors["decoder.positional_embedding"]
    h = tower(torch.cat((shown, tokens), 1), tensors, "decoder")[:, 1:10].mT.unflatten(2, (3, 3))
    if not soft:
        pixels = F.conv2d(h, tensors["decoder.ffn.0.weight"], tensors["decoder.ffn.0.bias"])
        image = torch.zeros(2, 3, 24, 24)
        for row, column, channel in torch.cartesian_prod(torch.arange(8), torch.arange(8), torch.arange(3)).tolist():
            image[:, channel, row::8, column::8] = pixels[:, (row * 8 + column) * 3 + channel]
        image = F.conv2d(image, tensors["decoder.conv_out.weight"], tensors["decoder.conv_out.bias"], padding=1)
        torch.testing.assert_close((made.autoencoder.decode(z) + 1) / 2, image, atol=1e-4, rtol=1e-4)
        return
    seen: list[Tensor] = []
    assert isinstance(made.autoencoder, TiTokAutoencoder)
    made.autoencoder.to_image.decoder.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    made.autoencoder.decode(z)
    hidden = F.conv2d(h, tensors["decoder.ffn.0.weight"], tensors["decoder.ffn.0.bias"]).tanh()
    logits = F.conv2d(hidden, tensors["decoder.ffn.2.weight"], tensors["decoder.ffn.2.bias"])
    codes = torch.einsum("bvhw,vz->bzhw", logits.softmax(1), tensors["pixel_quantize.embedding.weight"])
    torch.testing.assert_close(seen[0], codes, atol=1e-5, rtol=1e-4)


# ---- mistakes


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    tokenizer = tiny(0, soft=True)
    path = tmp_path / "tokenizer.safetensors"
    tensors = published(tokenizer)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"do not tell cosine; give --set cosine=\.\.\.$"):
        import_released(None, recognise(path, [TiTokVQ()]))
    with pytest.raises(ValueError, match="its patches make 256 x 256 pixels, got 64 x 64; give --image_size 256"):
        import_released(None, recognise(path, [TiTokVQ(cosine=True)]), image_size=(64, 64))
    with pytest.raises(ValueError, match="head_width: 64 does not divide the encoder's width"):
        import_released(None, recognise(path, [TiTokVQ(cosine=True)]))
    del tensors["pixel_decoder.norm_out.bias"]
    save_file(tensors, path)
    with pytest.raises(ValueError, match=r"it has no tensor pixel_decoder\.norm_out\.bias"):
        import_released(None, recognise(path, [family_of(tokenizer)]))


def test_an_image_of_any_size_is_told_by_places_and_patches() -> None:
    shapes = Shapes({"encoder.positional_embedding": (17, 8), "encoder.patch_embed.weight": (8, 3, 16, 16)})
    assert TiTokVQ(cosine=True).image_size(shapes, (1, 32)) == (64, 64)
    with pytest.raises(ValueError, match="head_width: must be at least 1, got 0"):
        TiTokVQ(head_width=0)
