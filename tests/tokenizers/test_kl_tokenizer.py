"""The continuous tokenizer trains, reports the truth, is saved whole and resumes exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from arlab.callbacks.rng_state import RngState
from arlab.data.digits import Digits
from arlab.data.facts import DataFacts
from arlab.optimization import AdamW
from arlab.runs.checkpoint import read, rebuild
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.kl_tokenizer import KLTokenizer
from arlab.tokenizers.losses import L2
from arlab.tokenizers.quantizers.kl import KL
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vqgan import VQGANAutoencoder
from arlab.tokens import TokenSpace
from tests.short_runs import digits, trainer


def tiny(facts: DataFacts, kl_weight: float = 1e-5) -> KLTokenizer:
    torch.manual_seed(0)
    return KLTokenizer(
        facts=facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4),
        quantizer=KL(kl_weight=kl_weight, scale=0.5),
        token_width=4,
        reconstruction=L2(),
        optimizer=AdamW(learning_rate=3e-3, warmup_steps=2),
    )


def test_tokens_of_a_wide_image() -> None:
    tokenizer = tiny(DataFacts(source="made up", channels=3, image_size=(6, 10))).eval()
    assert tokenizer.layout.shapes == ((3, 5),)
    assert tokenizer.space == TokenSpace(width=4, codebook_size=None)
    image = torch.rand(2, 3, 6, 10) * 2 - 1
    tokens, deviation = tokenizer.encoded(image)
    assert deviation is not None
    assert tokens.shape == deviation.shape == (2, 15, 4)
    assert (deviation > 0).all()
    assert torch.equal(tokenizer.encode(image), tokens)
    assert torch.equal(tokenizer.vectors(tokens), tokens)
    direct = tokenizer.autoencoder.decode(tokenizer.autoencoder.encode(image)[:, :4]).clamp(-1, 1)
    torch.testing.assert_close(tokenizer.decode(tokens), direct)  # unscaled, rows and columns not swapped
    assert tokenizer.preview(tokens, torch.zeros(2, 15, dtype=torch.bool)).abs().max() == 0


def test_it_learns_and_reports_the_whole_validation_part(tmp_path: Path) -> None:
    data, tokenizer = digits(), tiny(Digits().facts)
    before = trainer(tmp_path, 60).validate(tokenizer, data, verbose=False)[0]
    run = trainer(tmp_path, 60, limit_val_batches=0)
    run.fit(tokenizer, data)
    assert {"train/loss", "train/kl"} <= set(run.logged_metrics)
    after = trainer(tmp_path, 60).validate(tokenizer, data, verbose=False)[0]
    assert set(after) == {"val/loss", "val/kl", "val/psnr"}
    assert after["val/psnr"] > before["val/psnr"] + 3

    tokenizer.eval()
    image = data.parts.validation.batch(torch.arange(1100), known=False).image
    with torch.no_grad():
        error = ((tokenizer.decode(tokenizer.encode(image)) - image) / 2).square().mean()
        quantizer = tokenizer.quantizer
        assert isinstance(quantizer, KL)
        nats = quantizer.gaussian(tokenizer.autoencoder.encode(image)).nats().mean()
    assert after["val/psnr"] == pytest.approx(float(-10 * error.log10()), abs=1e-3)
    assert after["val/kl"] == pytest.approx(float(nats), rel=1e-4)


def test_the_weight_of_the_kl_holds_it_down(tmp_path: Path) -> None:
    found = []
    for kl_weight in (0.0, 0.1):
        tokenizer = tiny(Digits().facts, kl_weight)
        trainer(tmp_path, 40, limit_val_batches=0).fit(tokenizer, digits())
        found.append(trainer(tmp_path, 1).validate(tokenizer, digits(), verbose=False)[0]["val/kl"])
    assert found[1] < found[0] / 10


def test_a_checkpoint_rebuilds_the_tokenizer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    autoencoder = VQGANAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4, image_range=(0, 1))
    tokenizer = KLTokenizer(facts=Digits().facts, autoencoder=autoencoder, token_width=4)
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=2, filename="{step}")
    run = trainer(tmp_path, 2, enable_checkpointing=True, callbacks=[saving], limit_val_batches=0)
    run.fit(tokenizer, digits())
    rebuilt = rebuild(read(tmp_path / "step=2.ckpt"), Tokenizer)
    assert rebuilt.spec() == tokenizer.spec()
    image = torch.rand(4, 1, 8, 8) * 2 - 1
    tokenizer.eval()
    assert torch.equal(rebuilt.encode(image), tokenizer.encode(image))
    assert torch.equal(rebuilt.decode(rebuilt.encode(image)), tokenizer.decode(tokenizer.encode(image)))


def test_half_a_run_resumed_is_the_whole_run(tmp_path: Path) -> None:
    """The noise of the draws goes on as well: weights are bit-equal after 6 steps and after 3 + resume + 3."""
    whole = tiny(Digits().facts)
    trainer(tmp_path, 6, callbacks=[RngState()], limit_val_batches=0).fit(whole, digits())
    half = tiny(Digits().facts)
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    callbacks = [saving, RngState()]
    trainer(tmp_path, 6, enable_checkpointing=True, callbacks=callbacks, limit_val_batches=0).fit(half, digits())
    resumed = tiny(Digits().facts)
    torch.manual_seed(12345)
    again = trainer(tmp_path, 6, callbacks=[RngState()], limit_val_batches=0)
    again.fit(resumed, digits(), ckpt_path=tmp_path / "step=3.ckpt")
    expected = whole.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in resumed.state_dict().items())


def test_discrete_tokens_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tokenizer\.quantizer: VectorQuantizer gives discrete .* is VQTokenizer"):
        KLTokenizer(facts=Digits().facts, quantizer=VectorQuantizer(codebook_size=16))
    with pytest.raises(ValueError, match="facts: missing"):
        KLTokenizer()
