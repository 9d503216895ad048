"""The autoencoder family of released tokenizers: its parts by hand, its sizes, its errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.configurable import from_spec
from arlab.tokenizers.autoencoder import Autoencoder
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_blocks import MapAttention, ResidualBlock
from arlab.tokenizers.vqgan_parts import (
    AttentionLevels,
    AveragePool,
    InputShortcut,
    LatentConvs,
    OutputShortcut,
    Shortcut,
    StridedConv,
)

F16 = [1, 1, 2, 2, 4]
VAR = {"channels": 160, "channel_multipliers": F16, "encoder_blocks": 2, "decoder_blocks": 3}
KL16 = {**VAR, "channels": 128}
NOWHERE = AttentionLevels(encoder=[], decoder=[], middle=False)


def tiny(**options: object) -> VQGANAutoencoder:
    torch.manual_seed(0)
    settings: dict[str, object] = {"channels": 8, "channel_multipliers": [1, 2], "norm_groups": 4, **options}
    return VQGANAutoencoder(**settings)  # type: ignore[arg-type]


def bound(autoencoder: VQGANAutoencoder, image_size: tuple[int, int] = (8, 12), width: int = 4) -> VQGANAutoencoder:
    autoencoder.bind(3, image_size, width, width)
    return autoencoder


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"channel_multipliers": [2]},
        {"channel_multipliers": [1, 3, 2], "encoder_blocks": 2, "middle_blocks": 0},
        {"downsample": AveragePool(), "shortcut": OutputShortcut(), "bias": False, "attention": NOWHERE},
        {"attention": AttentionLevels(encoder=[0, -1], decoder=[0], middle=False), "middle_blocks": 3},
        {"latent": LatentConvs(z_channels=6, last_kernel=1, quant_kernel=3)},
        {"latent": LatentConvs(quant_kernel=None), "image_range": (0, 1)},
    ],
)
def test_shapes_of_non_square_images(options: dict[str, object]) -> None:
    autoencoder = tiny(**options)
    h, w = autoencoder.latent_shape((8, 12))
    autoencoder.bind(3, (8, 12), width=5, encoder_width=10)
    image_BCHW = torch.randn(2, 3, 8, 12)
    z_BChw = autoencoder.encode(image_BCHW)
    assert z_BChw.shape == (2, 10, h, w)
    assert h * 12 == w * 8
    image = autoencoder.decode(z_BChw[:, :5])
    assert image.shape == image_BCHW.shape
    image.square().mean().backward()
    assert autoencoder.last_layer.grad is not None
    assert all(parameter.grad is not None for parameter in autoencoder.parameters())
    rebuilt = from_spec(autoencoder.spec(), Autoencoder)
    assert rebuilt.spec() == autoencoder.spec()


def test_defaults_fit_a_small_image() -> None:
    autoencoder = VQGANAutoencoder()
    assert autoencoder.latent_shape((28, 28)) == (7, 7)
    autoencoder.bind(1, (28, 28), width=16, encoder_width=16)
    assert autoencoder.decode(autoencoder.encode(torch.zeros(1, 1, 28, 28))).shape == (1, 1, 28, 28)


@pytest.mark.parametrize(
    ("options", "width", "encoder_width", "rest", "published"),
    [
        # The rest: VAR's codebook of 4096 and its four phi convolutions; LlamaGen's codebook of 16384.
        ({**VAR, "latent": LatentConvs(quant_kernel=3)}, 32, 32, 4096 * 32 + 4 * (32 * 32 * 9 + 32), 108.9e6),
        ({**KL16, "latent": LatentConvs(z_channels=256)}, 8, 8, 16384 * 8, 72e6),
        (
            {**KL16, "channel_multipliers": [1, 2, 2, 4], "latent": LatentConvs(z_channels=256)},
            *(8, 8, 16384 * 8, 70e6),
        ),
        # Latent diffusion's kl-f16, whose weights MAR's have the shapes of.
        ({**KL16, "attention": AttentionLevels(decoder=[])}, 16, 32, 0, 66.5e6),
    ],
    ids=["VAR", "LlamaGen VQ-16", "LlamaGen VQ-8", "MAR KL-16"],
)
def test_parameters_of_published_models(
    options: dict[str, object], width: int, encoder_width: int, rest: int, published: float
) -> None:
    with torch.device("meta"):
        autoencoder = VQGANAutoencoder(**options)  # type: ignore[arg-type]
        autoencoder.bind(3, (256, 256), width, encoder_width)
    found = rest + sum(parameter.numel() for parameter in autoencoder.parameters())
    assert found == pytest.approx(published, rel=0.01)


def test_strided_convolution_reads_from_the_cell_to_the_right_and_below() -> None:
    module = StridedConv().build(2)
    x_BCHW = torch.randn(1, 2, 4, 6, requires_grad=True)
    module(x_BCHW)[0, :, 0, 1].sum().backward()
    assert x_BCHW.grad is not None
    seen = (x_BCHW.grad[0].abs().sum(0) > 0).nonzero()
    assert seen.unique(dim=0).tolist() == [[row, column] for row in range(3) for column in range(2, 5)]
    assert module(x_BCHW).shape == (1, 2, 2, 3)


def test_average_pooling_by_hand() -> None:
    x_BCHW = torch.tensor([[[[1.0, 2.0, 0.0, 0.0], [3.0, 6.0, 4.0, 0.0]]]])
    assert AveragePool().build(1)(x_BCHW).tolist() == [[[[3.0, 1.0]]]]


@pytest.mark.parametrize(("shortcut", "uses_input"), [(InputShortcut(), True), (OutputShortcut(), False)])
def test_what_a_shortcut_adds(shortcut: Shortcut, uses_input: bool) -> None:
    """With the convolutions' share known, the rest is the 1 · 1 convolution of the block's input or of that share."""
    block = ResidualBlock(4, 8, 4, True, shortcut)
    share_BCHW = torch.randn(1, 8, 1, 1).expand(1, 8, 3, 5)
    nn.init.zeros_(block.conv2.weight)
    with torch.no_grad():
        assert block.conv2.bias is not None
        block.conv2.bias.copy_(share_BCHW[0, :, 0, 0])
    x_BCHW = torch.randn(1, 4, 3, 5)
    convolution = block.shortcut
    assert isinstance(convolution, nn.Conv2d)
    expected = share_BCHW + convolution(x_BCHW if uses_input else share_BCHW)
    torch.testing.assert_close(block(x_BCHW), expected)
    same = ResidualBlock(8, 8, 4, True, shortcut)
    nn.init.zeros_(same.conv2.weight)
    nn.init.zeros_(same.conv2.bias)  # type: ignore[arg-type]
    assert torch.equal(same(share_BCHW), share_BCHW)


def test_attention_by_hand() -> None:
    attention = MapAttention(4, 2)
    x_BCHW = torch.randn(2, 4, 3, 5)
    cells_BSC = F.group_norm(x_BCHW, 2, attention.norm.weight, attention.norm.bias, eps=1e-6).flatten(2).mT
    weight, bias = attention.qkv.weight[..., 0, 0], attention.qkv.bias
    q, k, v = F.linear(cells_BSC, weight, bias).split(4, dim=-1)
    mixed_BSC = (q @ k.mT / math.sqrt(4)).softmax(-1) @ v
    added_BSC = F.linear(mixed_BSC, attention.out.weight[..., 0, 0], attention.out.bias)
    torch.testing.assert_close(attention(x_BCHW), x_BCHW + added_BSC.mT.unflatten(2, (3, 5)))


def test_attention_stands_where_it_is_asked_for() -> None:
    autoencoder = bound(tiny(attention=AttentionLevels(encoder=[0], decoder=[-1], middle=True)))
    found = {name for name, module in autoencoder.named_modules() if isinstance(module, MapAttention)}
    assert found == {
        "encoder.level0.attention0",
        "encoder.middle.attention",
        "decoder.middle.attention",
        "decoder.level1.attention0",
        "decoder.level1.attention1",
    }


def test_the_range_of_images_inside() -> None:
    outside, inside = bound(tiny()), bound(tiny(image_range=(0, 1)))
    inside.load_state_dict(outside.state_dict())
    image_BCHW = torch.rand(2, 3, 8, 12) * 2 - 1
    z_BChw = inside.encode(image_BCHW)
    torch.testing.assert_close(z_BChw, outside.encode((image_BCHW + 1) / 2))
    torch.testing.assert_close(inside.decode(z_BChw), outside.decode(z_BChw) * 2 - 1)


def test_the_encoder_gives_as_many_channels_as_the_quantizer_wants() -> None:
    autoencoder = tiny(latent=LatentConvs(z_channels=6))
    autoencoder.bind(3, (8, 8), width=4, encoder_width=8)
    assert [tuple(module.weight.shape[:2]) for module in _latent_convolutions(autoencoder)] == [(12, 16), (8, 12)]
    assert tuple(autoencoder.decoder.conv_in.weight.shape[:2]) == (16, 6)


def _latent_convolutions(autoencoder: VQGANAutoencoder) -> list[nn.Conv2d]:
    found = [autoencoder.encoder.conv_out, autoencoder.quant_conv]
    return [module for module in found if isinstance(module, nn.Conv2d)]


def test_biases_are_left_out_of_what_they_belong_to() -> None:
    """Not of what follows the last block, nor of where the resolution changes."""
    autoencoder = bound(tiny(bias=False, latent=LatentConvs(quant_kernel=None)))
    with_bias = {name.removesuffix(".bias") for name, _ in autoencoder.named_parameters() if name.endswith(".bias")}
    convolutions = {
        name
        for name, module in autoencoder.named_modules()
        if isinstance(module, nn.Conv2d) and name in with_bias and "attention" not in name
    }
    assert convolutions == {
        "encoder.level0.downsample.conv",
        "encoder.conv_out",
        "decoder.conv_in",
        "decoder.level1.upsample.conv",
        "decoder.conv_out",
    }


def test_autocast_keeps_norms_in_float32() -> None:
    autoencoder = bound(tiny())
    seen: list[Tensor] = []
    autoencoder.encoder.norm_out.register_forward_hook(lambda module, given, out: seen.append(out))
    with torch.autocast("cpu", torch.bfloat16):
        z_BChw = autoencoder.encode(torch.randn(1, 3, 8, 12))
        assert autoencoder.decode(z_BChw).isfinite().all()
    assert z_BChw.dtype == torch.bfloat16
    assert seen[0].dtype == torch.float32


def test_an_image_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ValueError, match=r"image_size \(8, 9\) is not divisible by 2"):
        bound(tiny(), (8, 9))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"channels": 12}, "autoencoder.norm_groups: 32 does not divide"),
        ({"channels": 0}, "autoencoder.channels: must be from 1"),
        ({"channels": 10**12}, "autoencoder.channels: must be from 1"),
        ({"channel_multipliers": []}, "autoencoder.channel_multipliers: needs"),
        ({"channel_multipliers": [1, 0]}, "autoencoder.channel_multipliers: needs"),
        ({"channel_multipliers": [1] * 99}, "autoencoder.channel_multipliers: needs"),
        ({"channel_multipliers": [1, 10**9]}, "autoencoder.channel_multipliers: .* must be at most 65536"),
        ({"encoder_blocks": 0}, "autoencoder.encoder_blocks: must be from 1"),
        ({"decoder_blocks": 10**9}, "autoencoder.decoder_blocks: must be from 1"),
        ({"middle_blocks": -1}, "autoencoder.middle_blocks: must be from 0"),
        ({"norm_groups": 0}, "autoencoder.norm_groups: must be from 1"),
        ({"image_range": (1, 1)}, "autoencoder.image_range: must be two rising numbers within .*, got 1 and 1"),
        ({"image_range": (math.nan, 1)}, "autoencoder.image_range"),
        ({"image_range": (0, 1e-300)}, "autoencoder.image_range"),
        ({"image_range": (0, math.inf)}, "autoencoder.image_range"),
        ({"attention": AttentionLevels(encoder=[3])}, "autoencoder.attention.encoder: no level 3; expected -3 to 2"),
        ({"attention": AttentionLevels(decoder=[-4])}, "autoencoder.attention.decoder: no level -4"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        VQGANAutoencoder(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"z_channels": 0}, "autoencoder.latent.z_channels: must be from 1"),
        ({"last_kernel": 2}, "autoencoder.latent.last_kernel: must be odd, from 1 to 31, got 2"),
        ({"quant_kernel": 10**12 + 1}, "autoencoder.latent.quant_kernel: must be odd"),
        ({"quant_kernel": None, "z_channels": 8}, "autoencoder.latent.z_channels: is the tokens' width where"),
    ],
)
def test_impossible_latent_convolutions_are_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LatentConvs(**options)  # type: ignore[arg-type]
