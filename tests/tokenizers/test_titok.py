"""TiTok's autoencoder: shapes, its two ways to pixels, the legacy reshape, and that it learns, is saved and rebuilt."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.backbones.attention import Attention
from arlab.data.digits import Digits
from arlab.data.facts import DataFacts
from arlab.optimization import AdamW, split_by_decay
from arlab.runs.checkpoint import read, rebuild
from arlab.tokenizers.losses import L2
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.titok import TiTokAutoencoder, Tower
from arlab.tokenizers.titok_pixels import PatchPixels, Pixels, SoftCodes
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.short_runs import digits, trainer

TINY = SoftCodes(codebook_size=12, code_width=6, channels=8, channel_multipliers=[1, 2], norm_groups=4)
BOTH = pytest.mark.parametrize("pixels", [PatchPixels(), TINY], ids=["patches", "soft"])
LEGACY = pytest.mark.parametrize("legacy", [False, True], ids=["", "legacy"])


def small(*, pixels: Pixels | None = None, legacy: bool = False, num_tokens: int = 5) -> TiTokAutoencoder:
    torch.manual_seed(0)
    return TiTokAutoencoder(
        patch_size=2,
        num_tokens=num_tokens,
        encoder=Tower(width=12, num_layers=1, attention=Attention(num_heads=2)),
        decoder=Tower(width=16, num_layers=2, attention=Attention(num_heads=2)),
        pixels=pixels,
        legacy_reshape=legacy,
        image_range=(0, 1),
    )


def bound(**options: object) -> TiTokAutoencoder:
    """For images of 3 x 6 x 10, encoder width 4 and token width 7."""
    autoencoder = small(**options)  # type: ignore[arg-type]
    autoencoder.bind(3, (6, 10), width=7, encoder_width=4)
    return autoencoder.eval()


def tiny(pixels: Pixels, legacy: bool = False) -> VQTokenizer:
    return VQTokenizer(
        facts=Digits().facts,
        autoencoder=small(pixels=pixels, legacy=legacy, num_tokens=6),
        quantizer=VectorQuantizer(codebook_size=32, decay=0.9, revive_below=0.3),
        token_width=8,
        reconstruction=L2(),
        optimizer=AdamW(learning_rate=3e-3, warmup_steps=5, weight_decay=0.0),
    )


@BOTH
@LEGACY
def test_shapes_of_non_square_images(pixels: Pixels, legacy: bool) -> None:
    autoencoder = bound(pixels=pixels, legacy=legacy)
    assert autoencoder.latent_shape((6, 10)) == (5,)
    image = torch.randn(2, 3, 6, 10)
    assert autoencoder.encode(image).shape == (2, 4, 5)
    assert autoencoder.decode(torch.randn(2, 7, 5)).shape == image.shape


@BOTH
@LEGACY
def test_every_weight_learns(pixels: Pixels, legacy: bool) -> None:
    autoencoder = small(pixels=pixels, legacy=legacy)
    autoencoder.bind(3, (6, 10), width=4, encoder_width=4)
    image = torch.randn(8, 3, 6, 10)
    (autoencoder.train().decode(autoencoder.encode(image)) - image).square().mean().backward()
    for name, weight in autoencoder.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
    assert autoencoder.last_layer.shape[0] == 3


def test_the_legacy_reshape_reads_the_queries_outputs_across() -> None:
    """Number n of an image's outputs, row by row, is channel n // K of token n mod K."""
    plain, legacy = bound(), bound(legacy=True)
    legacy.load_state_dict(plain.state_dict())
    seen: list[Tensor] = []
    hook = plain.encoder_tower.register_forward_hook(lambda _module, _inputs, out: seen.append(out[:, -5:]))
    image = torch.randn(2, 3, 6, 10)
    z_BCK = plain.encode(image)
    hook.remove()
    out_BKD = seen[0]
    torch.testing.assert_close(z_BCK, plain.to_latent(out_BKD).transpose(1, 2))
    numbers = torch.arange(5 * 12)
    across_BKD = torch.zeros_like(out_BKD)
    across_BKD[:, numbers % 5, numbers // 5] = out_BKD.flatten(1)
    torch.testing.assert_close(legacy.encode(image), plain.to_latent(across_BKD).transpose(1, 2))


def test_soft_codes_are_a_mixture() -> None:
    """Where one logit is far above the others, the decoder sees its code."""
    module = bound(pixels=TINY).to_image
    seen: list[Tensor] = []
    module.decoder.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        module.to_logits.bias[7] = 100.0
        module(torch.randn(1, 16, 3, 5))
        module.to_logits.weight.zero_()
        module.to_logits.bias.zero_()
        module(torch.randn(1, 16, 3, 5))
    code_Z = module.codes.table[7]
    torch.testing.assert_close(seen[0], code_Z[None, :, None, None].expand(1, 6, 3, 5))
    torch.testing.assert_close(seen[1], module.codes.table.mean(0)[None, :, None, None].expand(1, 6, 3, 5))


def test_patches_come_out_where_they_went_in() -> None:
    """Numbers are rows of a patch, its columns, channels; rows and columns of patches are not swapped."""
    module = PatchPixels().build(2 * 2 * 3, (3, 5), 2, 3)
    assert isinstance(module.to_pixels, nn.Conv2d)
    with torch.no_grad():
        module.to_pixels.weight.copy_(torch.eye(12)[:, :, None, None])
    image = torch.randn(2, 3, 6, 10)
    h_BDhw = image.unflatten(3, (5, 2)).unflatten(2, (3, 2)).permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
    torch.testing.assert_close(module(h_BDhw), image)


def test_images_are_seen_and_made_in_their_range() -> None:
    """Black is 0 to the networks, white 1."""
    autoencoder = bound()
    black = torch.full((1, 3, 6, 10), -1.0)
    seen: list[Tensor] = []
    autoencoder.patch.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    autoencoder.encode(black)
    assert not seen[0].any()
    nn.init.zeros_(autoencoder.last_layer)
    torch.testing.assert_close(autoencoder.decode(torch.randn(1, 7, 5)), black)


def test_tables_and_codes_do_not_decay() -> None:
    autoencoder = bound(pixels=TINY)
    decayed, _ = split_by_decay(autoencoder)
    tables = {id(module.table) for module in autoencoder.modules() if hasattr(module, "table")}
    assert len(tables) == 7
    assert tables.isdisjoint(map(id, decayed))


@BOTH
def test_it_overfits_a_batch(pixels: Pixels) -> None:
    autoencoder = small(pixels=pixels)
    autoencoder.bind(1, (8, 8), width=8, encoder_width=8)
    data = digits()
    data.setup("fit")
    image = data.parts.train.batch(torch.arange(4), known=False).image
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(120):
        loss = F.mse_loss(autoencoder.decode(autoencoder.encode(image)), image)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.25 * losses[0]


@BOTH
def test_trained_saved_and_rebuilt_it_is_the_same(pixels: Pixels, tmp_path: Path) -> None:
    tokenizer = tiny(pixels, legacy=True)
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=3, filename="{step}")
    trainer(tmp_path, 3, limit_val_batches=0, enable_checkpointing=True, callbacks=[saving]).fit(tokenizer, digits())
    rebuilt = rebuild(read(tmp_path / "step=3.ckpt"), Tokenizer)
    assert rebuilt.spec() == tokenizer.spec()
    image = torch.rand(4, 1, 8, 8) * 2 - 1
    tokens = tokenizer.eval().encode(image)
    assert tokenizer.layout.shapes == ((6,),)
    assert torch.equal(rebuilt.encode(image), tokens)
    known = (torch.arange(6) < 3).expand(4, -1)
    assert torch.equal(rebuilt.preview(tokens, known), tokenizer.preview(tokens, known))
    assert torch.equal(tokenizer.preview(tokens, torch.ones_like(known)), tokenizer.decode(tokens))


def test_half_precision() -> None:
    autoencoder = bound(pixels=TINY).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = autoencoder.encode(torch.randn(2, 3, 6, 10))
        image = autoencoder.decode(torch.cat([z, z[:, :3]], 1))
    assert bool(image.isfinite().all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TiTokAutoencoder(patch_size=0), "autoencoder.patch_size: must be at least 1, got 0"),
        (lambda: TiTokAutoencoder(num_tokens=10**12), "autoencoder.num_tokens: must be from 1 to 65536"),
        (lambda: TiTokAutoencoder(image_range=(1, math.nan)), "autoencoder.image_range: must be two rising numbers"),
        (lambda: Tower(width=30), "tower.attention.num_heads: 4 heads do not divide a width of 30"),
        (lambda: Tower(num_layers=1001), "tower.num_layers: must be from 1 to 1000, got 1001"),
        (lambda: SoftCodes(codebook_size=1), "autoencoder.pixels.codebook_size: must be from 2 to 4194304, got 1"),
        (lambda: SoftCodes(codebook_size=2**20, code_width=2**16), "autoencoder.pixels.code_width: codebook_size · "),
        (lambda: SoftCodes(channel_multipliers=[]), "autoencoder.pixels.channel_multipliers: needs 1 to 16"),
        (lambda: SoftCodes(channels=12), r"autoencoder.pixels.norm_groups: 8 does not divide the channels \[12, 24, 2"),
    ],
)
def test_impossible_options_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_patches_of_another_size_are_refused() -> None:
    facts = DataFacts(source="made up", channels=3, image_size=(28, 42))
    with pytest.raises(ValueError, match=r"patch_size: 4 does not divide image_size \(28, 42\); .* 1, 2, 7, 14, or"):
        VQTokenizer(facts=facts, autoencoder=TiTokAutoencoder(patch_size=4))
    with pytest.raises(ValueError, match="3 of them make 4 x 4 pixels of a patch, of patch_size 2; each"):
        VQTokenizer(facts=facts, autoencoder=TiTokAutoencoder(patch_size=2, pixels=SoftCodes()))
