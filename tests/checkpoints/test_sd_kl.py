"""Stable Diffusion's tokenizer, in the three ways its tensors are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from arlab.checkpoints.importing import import_released, recognise
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.checkpoints.sd_kl import SDKL, DeprecatedDiffusersKL, DiffusersKL
from arlab.data.facts import DataFacts
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.quantizers.kl import KL
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_parts import AttentionLevels, LatentConvs
from tests.checkpoints.laws import dice, tokenizer_round_trip

KINDS: tuple[type[SDKL], ...] = (SDKL, DiffusersKL, DeprecatedDiffusersKL)


def tokenizer(seed: int) -> tuple[dict[str, object], KLTokenizer]:
    """A tokenizer, and the options that its tensors do not tell."""
    rng = dice(seed)
    multipliers = [1, *(rng.choice([1, 2, 3]) for _ in range(rng.randint(1, 3)))]
    norm_groups, scale = rng.choice([8, 16]), rng.choice([0.13025, 0.18215])
    layers = rng.randint(1, 2)
    made = KLTokenizer(
        facts=DataFacts("imagenet", 3, (256, 256)),
        autoencoder=VQGANAutoencoder(
            channels=16,
            channel_multipliers=multipliers,
            encoder_blocks=layers,
            decoder_blocks=layers + 1,
            attention=AttentionLevels(encoder=[0] if rng.random() < 0.5 else [], decoder=[]),
            latent=LatentConvs(z_channels=rng.choice([4, 8])),
            norm_groups=norm_groups,
        ),
        quantizer=KL(kl_weight=1e-6 / (3 * 256 * 256), scale=scale),
        token_width=4,
    )
    return {"norm_groups": norm_groups, "scale": scale}, made


@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("seed", range(3))
def test_released_and_imported_it_is_the_same(kind: type[SDKL], seed: int, tmp_path: Path) -> None:
    options, made = tokenizer(seed)
    tokenizer_round_trip(kind(**options), made, tmp_path)  # type: ignore[arg-type]


def released(kind: type[SDKL], made: KLTokenizer) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in kind().names(made).published(made.state_dict()).items()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_holds_is_seen_by_its_names(kind: type[SDKL], tmp_path: Path) -> None:
    """The same tokenizer, whichever way it is written down."""
    options, made = tokenizer(0)
    save_file(released(kind, made), tmp_path / "vae.safetensors")
    found = recognise(tmp_path / "vae.safetensors", [each(**options) for each in KINDS])  # type: ignore[arg-type]
    assert type(found.family) is kind
    imported = import_released(None, found, image_size=(32, 32))
    assert isinstance(imported, KLTokenizer)
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(imported.encode(image), made.eval().encode(image), rtol=0, atol=0)


def test_names_of_diffusers() -> None:
    """Levels of the decoder are counted from the lowest resolution; attention has matrices."""
    made = KLTokenizer(
        facts=DataFacts("imagenet", 3, (8, 8)),
        autoencoder=VQGANAutoencoder(
            channels=8,
            channel_multipliers=[1, 2],
            encoder_blocks=1,
            decoder_blocks=2,
            attention=AttentionLevels(encoder=[], decoder=[]),
            norm_groups=8,
        ),
        token_width=4,
    )
    published = released(DiffusersKL, made)
    layers = {name.removesuffix(".weight") for name in published if name.endswith(".weight")}
    block = ("norm1", "conv1", "norm2", "conv2")
    attention = [f"mid_block.attentions.0.{part}" for part in ("group_norm", "to_q", "to_k", "to_v", "to_out.0")]
    middle = [f"mid_block.resnets.{number}.{part}" for number in (0, 1) for part in block]
    shared = ["conv_in", *middle, *attention, "conv_norm_out", "conv_out"]
    encoder = [f"down_blocks.{level}.resnets.0.{part}" for level in (0, 1) for part in block]
    encoder += ["down_blocks.1.resnets.0.conv_shortcut", "down_blocks.0.downsamplers.0.conv"]
    decoder = [f"up_blocks.{level}.resnets.{number}.{part}" for level in (0, 1) for number in (0, 1) for part in block]
    decoder += ["up_blocks.1.resnets.0.conv_shortcut", "up_blocks.0.upsamplers.0.conv"]
    assert layers == {
        *(f"encoder.{name}" for name in [*shared, *encoder]),
        *(f"decoder.{name}" for name in [*shared, *decoder]),
        "quant_conv",
        "post_quant_conv",
    }
    assert published["decoder.mid_block.attentions.0.to_out.0.weight"].shape == (16, 16)
    assert published["decoder.up_blocks.0.resnets.0.conv1.weight"].shape == (16, 16, 3, 3)
    assert published["decoder.up_blocks.1.resnets.0.conv1.weight"].shape == (8, 16, 3, 3)
    old = {name.replace(".to_out.0.", ".proj_attn.") for name in published}
    for new, former in (("to_q", "query"), ("to_k", "key"), ("to_v", "value")):
        old = {name.replace(f".{new}.", f".{former}.") for name in old}
    assert old == set(released(DeprecatedDiffusersKL, made))
    queries = published["encoder.mid_block.attentions.0.to_q.weight"]
    assert torch.equal(queries[..., None, None], released(SDKL, made)["encoder.mid.attn_1.q.weight"])


def test_its_tokens_have_the_known_scale() -> None:
    assert (LDMKL.width, LDMKL.released_scale) == (16, 0.2325)
    assert {(kind.width, kind.released_scale) for kind in KINDS} == {(4, 0.18215)}
