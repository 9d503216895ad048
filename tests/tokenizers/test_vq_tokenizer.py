"""The VQ tokenizer trains, reports the truth, is saved whole and resumes exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from arlab.data.digits import Digits
from arlab.data.facts import DataFacts
from arlab.data.fashion_mnist import FashionMNIST
from arlab.optimization import AdamW
from arlab.runs.checkpoint import read, rebuild
from arlab.tokenizers.autoencoder import ConvAutoencoder
from arlab.tokenizers.losses import L2
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from arlab.tokens import TokenSpace
from arlab.trained import Trained
from tests.short_runs import StopAfter, digits, trainer


def tiny(facts: DataFacts) -> VQTokenizer:
    torch.manual_seed(0)
    return VQTokenizer(
        facts=facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4),
        quantizer=VectorQuantizer(codebook_size=16, decay=0.9, revive_below=0.5),
        token_width=4,
        reconstruction=L2(),
        optimizer=AdamW(learning_rate=3e-3, warmup_steps=2),
    )


def test_tokens_of_a_wide_image() -> None:
    tokenizer = tiny(DataFacts(source="made up", channels=3, image_size=(6, 10))).eval()
    assert tokenizer.layout.shapes == ((3, 5),)
    assert tokenizer.space == TokenSpace(width=4, codebook_size=16)
    image = torch.rand(2, 3, 6, 10) * 2 - 1
    tokens = tokenizer.encode(image)
    assert tokens.shape == (2, 15)
    decoded = tokenizer.decode(tokens)
    assert decoded.shape == image.shape
    assert decoded.abs().max() <= 1
    assert torch.equal(tokenizer.vectors(tokens), tokenizer.quantizer.lookup(tokens))
    direct = tokenizer.autoencoder.decode(tokenizer.quantizer(tokenizer.autoencoder.encode(image)).vectors)
    torch.testing.assert_close(decoded, direct.clamp(-1, 1))  # rows and columns are not swapped on the way
    assert tokenizer.bits_per_dim(1.0) is None


def test_it_learns_and_reports_the_whole_validation_part(tmp_path: Path) -> None:
    data, tokenizer = digits(), tiny(Digits().facts)
    run = trainer(tmp_path, 60)
    before = run.validate(tokenizer, data, verbose=False)[0]
    run = trainer(tmp_path, 60, limit_val_batches=0)
    run.fit(tokenizer, data)
    assert {"train/loss", "train/usage", "train/revived"} <= set(run.logged_metrics)
    after = trainer(tmp_path, 60).validate(tokenizer, data, verbose=False)[0]
    assert after["val/psnr"] > before["val/psnr"] + 3

    tokenizer.eval()
    image = data.parts.validation.batch(torch.arange(1100), known=False).image
    with torch.no_grad():
        tokens = tokenizer.encode(image)
        error = ((tokenizer.decode(tokens) - image) / 2).square().mean()
    share = torch.bincount(tokens.flatten(), minlength=16) / tokens.numel()
    entropy = -(share[share > 0] * share[share > 0].log()).sum()
    assert after["val/psnr"] == pytest.approx(float(-10 * error.log10()), abs=1e-3)
    assert after["val/usage"] == pytest.approx(float((share > 0).float().mean()))
    assert after["val/perplexity"] == pytest.approx(float(entropy.exp()), rel=1e-4)
    tested = trainer(tmp_path, 60).test(tokenizer, data, verbose=False)[0]
    assert set(tested) == {"test/loss", "test/psnr", "test/usage", "test/perplexity"}


def test_a_checkpoint_rebuilds_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = tiny(Digits().facts)
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=3, filename="{step}")
    trainer(tmp_path, 3, enable_checkpointing=True, callbacks=[saving]).fit(tokenizer, digits())
    checkpoint = read(tmp_path / "step=3.ckpt")
    rebuilt = rebuild(checkpoint, Tokenizer)
    assert rebuilt.spec() == tokenizer.spec()
    assert rebuilt.facts == Digits().facts
    assert checkpoint["arlab"]["data"] == digits().spec()
    image = torch.rand(4, 1, 8, 8) * 2 - 1
    tokenizer.eval()
    assert torch.equal(rebuilt.encode(image), tokenizer.encode(image))
    assert torch.equal(rebuilt.decode(rebuilt.encode(image)), tokenizer.decode(tokenizer.encode(image)))


def test_half_a_run_resumed_is_the_whole_run(tmp_path: Path) -> None:
    """Weights, codebook and its revivals are bit-equal after 6 steps and after 3 + resume + 3 (mid-epoch)."""
    whole = tiny(Digits().facts)
    trainer(tmp_path, 6).fit(whole, digits())
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    half = tiny(Digits().facts)
    # The schedule spans max_steps, so the first half is a run of 6 steps that is stopped after 3.
    stopped = trainer(tmp_path, 6, enable_checkpointing=True, callbacks=[saving, StopAfter(3)])
    stopped.fit(half, digits())
    assert stopped.global_step == 3
    resumed = tiny(Digits().facts)
    trainer(tmp_path, 6).fit(resumed, digits(), ckpt_path=tmp_path / "step=3.ckpt")
    expected = whole.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in resumed.state_dict().items())
    assert not torch.equal(half.quantizer.codebook, whole.quantizer.codebook)


def test_other_data_is_refused(tmp_path: Path) -> None:
    tokenizer = tiny(Digits().facts)
    with pytest.raises(ValueError, match=r"model.facts: .* image_size: \(8, 8\) against \(28, 28\)"):
        trainer(tmp_path, 1).fit(tokenizer, FashionMNIST())


def test_facts_are_needed() -> None:
    with pytest.raises(ValueError, match="facts: missing"):
        VQTokenizer()


def test_wrong_images_and_tokens_are_told() -> None:
    trained = Trained(tiny(Digits().facts).eval())
    image = torch.rand(2, 1, 8, 8) * 2 - 1
    for wrong, told in (
        (image.expand(-1, 3, -1, -1), r"image: expected \(B, 1, 8, 8\), got \(2, 3, 8, 8\)"),
        (image[0], r"image: expected \(B, 1, 8, 8\)"),
        (image.byte(), "image: expected finite numbers in .* got torch.uint8"),
        (image * float("nan"), "image: expected finite numbers"),
    ):
        with pytest.raises(ValueError, match=told):
            trained.encode(wrong)
    tokens = trained.encode(image)
    assert trained.decode(tokens).shape == image.shape
    with pytest.raises(ValueError, match=r"tokens: expected \(B, 16\), got \(2, 15\)"):
        trained.decode(tokens[:, 1:])
    with pytest.raises(ValueError, match=r"tokens: expected codes in 0 \.\. 15"):
        trained.decode(tokens + 16)
