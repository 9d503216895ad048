"""The released weights of MAR's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from arlab.checkpoints.importing import import_released, recognise
from arlab.checkpoints.ldm_kl import LDMKL
from arlab.checkpoints.sd_kl import SDKL
from arlab.checkpoints.shapes import Shapes
from arlab.data.facts import DataFacts
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.quantizers.kl import KL
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokenizers.vqgan_parts import AttentionLevels, LatentConvs
from tests.checkpoints.laws import SEEDS, dice, tokenizer_round_trip

FACTS = DataFacts("imagenet", 3, (256, 256))


def tokenizer(seed: int) -> tuple[LDMKL, KLTokenizer]:
    rng = dice(seed)
    multipliers = [1, *(rng.choice([1, 2]) for _ in range(rng.randint(1, 2)))]
    norm_groups, scale = rng.choice([16, 32]), rng.choice([0.2325, 0.18215])
    where = list(range(len(multipliers)))
    made = KLTokenizer(
        facts=FACTS,
        autoencoder=VQGANAutoencoder(
            channels=32,
            channel_multipliers=multipliers,
            encoder_blocks=rng.randint(1, 2),
            decoder_blocks=rng.randint(1, 3),
            attention=AttentionLevels(
                encoder=[level for level in where if rng.random() < 0.5],
                decoder=[level for level in where if rng.random() < 0.5],
            ),
            latent=LatentConvs(z_channels=rng.choice([4, 8])),
            norm_groups=norm_groups,
        ),
        quantizer=KL(kl_weight=1e-6 / (3 * 256 * 256), scale=scale),
        token_width=rng.choice([4, 6]),
    )
    return LDMKL(scale=scale, norm_groups=norm_groups), made


@pytest.mark.parametrize("seed", SEEDS)
def test_released_and_imported_it_is_the_same(seed: int, tmp_path: Path) -> None:
    tokenizer_round_trip(*tokenizer(seed), tmp_path)


def test_what_it_was_trained_with_is_left_where_it_is(tmp_path: Path) -> None:
    family, made = tokenizer(0)
    published = family.names(made).published(made.state_dict())
    torch.save({"state_dict": published | {"loss.logvar": torch.zeros(())}}, tmp_path / "kl.ckpt")
    assert isinstance(import_released(None, recognise(tmp_path / "kl.ckpt", [family])), KLTokenizer)


def test_one_with_a_codebook_is_another(tmp_path: Path) -> None:
    family, made = tokenizer(0)
    published = family.names(made).published(made.state_dict()) | {"quantize.embedding.weight": torch.zeros(8, 4)}
    save_file({name: value.clone() for name, value in published.items()}, tmp_path / "vq.safetensors")
    with pytest.raises(ValueError, match=r"vq\.safetensors: of LDMKL, but its tensor quantize\.embedding\.weight has"):
        import_released(None, recognise(tmp_path / "vq.safetensors", [family]))


def test_the_scale_of_other_tokens_than_the_releases_is_asked_for() -> None:
    family, made = tokenizer(0)
    shapes = Shapes(
        {name: tuple(value.shape) for name, value in family.names(made).published(made.state_dict()).items()}
    )
    width = shapes.size("post_quant_conv.weight", 1)
    for kind in (kind for kind in (LDMKL, SDKL) if kind.width != width):
        with pytest.raises(ValueError, match=rf"do not tell scale; give --set scale=... \(tokens of {width} numbers; "):
            kind().tokenizer(shapes, made.facts)
    assert (LDMKL.width, LDMKL.released_scale, SDKL.width, SDKL.released_scale) == (16, 0.2325, 4, 0.18215)


def test_options_are_refused_by_their_own_names() -> None:
    _, made = tokenizer(0)
    shapes = Shapes(
        {name: tuple(value.shape) for name, value in LDMKL().names(made).published(made.state_dict()).items()}
    )
    with pytest.raises(ValueError, match=r"^norm_groups: must divide the channels \[32, \d+.*, got 48$"):
        LDMKL(scale=1.0, norm_groups=48).tokenizer(shapes, FACTS)
    with pytest.raises(ValueError, match=r"^norm_groups: must be at least 1, got 0$"):
        LDMKL(norm_groups=0)
    for scale in (-1.0, float("nan"), 1e9):
        with pytest.raises(ValueError, match=r"^scale: must be from"):
            LDMKL(scale=scale)
