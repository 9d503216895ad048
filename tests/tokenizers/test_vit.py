"""The transformer autoencoder: shapes, who depends on whom, prefixes, and that it learns, is saved and resumes."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from arlab.backbones.attention import Attention
from arlab.backbones.feed_forward import GatedMLP
from arlab.backbones.norms import NormedQK, RMSNorm
from arlab.callbacks.rng_state import RngState
from arlab.configurable import from_spec
from arlab.data.digits import Digits
from arlab.data.facts import DataFacts
from arlab.optimization import AdamW, split_by_decay
from arlab.pyramids.depth import DepthPyramid
from arlab.runs.checkpoint import read, rebuild
from arlab.tokenizers.autoencoder import Autoencoder
from arlab.tokenizers.losses import L2
from arlab.tokenizers.nested_dropout import EveryLength, NestedDropout, PowersOfTwo, PrefixLengths
from arlab.tokenizers.quantizers.fsq import FSQ
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokenizers.vit import ViTAutoencoder
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.short_runs import digits, trainer


def small(
    *, num_tokens: int = 5, nested_dropout: NestedDropout | None = None, causal: bool = False, patch_size: int = 2
) -> ViTAutoencoder:
    torch.manual_seed(0)
    return ViTAutoencoder(
        patch_size=patch_size,
        num_tokens=num_tokens,
        width=16,
        encoder_layers=2,
        decoder_layers=2,
        attention=Attention(num_heads=2),
        nested_dropout=nested_dropout,
        causal=causal,
    )


def bound(**options: object) -> ViTAutoencoder:
    """For images of 3 x 6 x 10, encoder width 4 and token width 7."""
    autoencoder = small(**options)  # type: ignore[arg-type]
    autoencoder.bind(3, (6, 10), width=7, encoder_width=4)
    return autoencoder.eval()


def tiny(nested_dropout: NestedDropout | None = None, quantizer: Quantizer | None = None) -> VQTokenizer:
    autoencoder = small(num_tokens=6, nested_dropout=nested_dropout)
    return VQTokenizer(
        facts=Digits().facts,
        autoencoder=autoencoder,
        quantizer=quantizer or VectorQuantizer(codebook_size=32, decay=0.9, revive_below=0.3),
        token_width=8,
        reconstruction=L2(),
        optimizer=AdamW(learning_rate=3e-3, warmup_steps=5, weight_decay=0.0),
    )


def prefix(length: int, num_tokens: int, batch_size: int) -> Tensor:
    return (torch.arange(num_tokens) < length).expand(batch_size, -1)


# ---- shapes


@pytest.mark.parametrize(
    ("patch_size", "image_size", "num_tokens"), [(2, (6, 10), 5), (1, (3, 2), 9), (5, (5, 15), 1), (4, (4, 4), 3)]
)
@pytest.mark.parametrize("causal", [False, True])
def test_shapes_of_non_square_images(
    patch_size: int, image_size: tuple[int, int], num_tokens: int, causal: bool
) -> None:
    autoencoder = small(patch_size=patch_size, num_tokens=num_tokens, causal=causal)
    assert autoencoder.latent_shape(image_size) == (num_tokens,)
    autoencoder.bind(3, image_size, width=7, encoder_width=4)
    image = torch.randn(2, 3, *image_size)
    assert autoencoder.encode(image).shape == (2, 4, num_tokens)
    assert autoencoder.decode(torch.randn(2, 7, num_tokens)).shape == image.shape


def test_patches_come_out_where_they_went_in() -> None:
    """A decoder whose last layer reads single patches puts patch p on p's pixels, rows and columns not swapped."""
    autoencoder = bound()
    with torch.no_grad():
        autoencoder.to_pixels.bias.zero_()
    z = torch.randn(1, 7, 5)
    before = autoencoder.decode(z)
    places = torch.zeros(15, 1)
    places[1 * 5 + 3] = 1  # the patch in row 1, column 3
    hidden: list[Tensor] = []
    hook = autoencoder.decoder.register_forward_hook(lambda _module, _inputs, out: hidden.append(out))
    autoencoder.decode(z)
    hook.remove()
    changed = torch.cat([hidden[0][:, :15] + places, hidden[0][:, 15:]], 1)
    hook = autoencoder.decoder.register_forward_hook(lambda *_: changed)
    moved = (autoencoder.decode(z) - before).detach().abs().sum((0, 1)) > 0
    hook.remove()
    assert bool(moved[2:4, 6:8].all())
    assert int(moved.sum()) == 4


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("nested_dropout", [None, NestedDropout()])
def test_every_weight_learns(causal: bool, nested_dropout: NestedDropout | None) -> None:
    autoencoder = small(causal=causal, nested_dropout=nested_dropout)
    autoencoder.bind(3, (6, 10), width=4, encoder_width=4)
    image = torch.randn(8, 3, 6, 10)
    (autoencoder.train().decode(autoencoder.encode(image)) - image).square().mean().backward()
    for name, weight in autoencoder.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name
    assert autoencoder.absent.requires_grad == (nested_dropout is not None)
    assert autoencoder.last_layer.grad is not None


def test_tables_do_not_decay() -> None:
    decayed, kept = split_by_decay(bound())
    tables = [module.table for module in bound().modules() if hasattr(module, "table")]
    assert len(tables) == 4
    assert {tuple(table.shape) for table in tables}.isdisjoint({tuple(weight.shape) for weight in decayed})
    assert len(kept) > 4


def test_tokens_that_start_as_the_same_patch_differ() -> None:
    """Nine tokens of six patches: equal queries would stay equal for ever."""
    autoencoder = small(num_tokens=9, patch_size=1)
    autoencoder.bind(1, (2, 3), width=4, encoder_width=4)
    z_KC = autoencoder.encode(torch.randn(1, 1, 2, 3))[0].T
    assert torch.pdist(z_KC).min() > 1e-3


def test_tokens_start_as_content_and_not_as_places() -> None:
    """What tells images apart reaches the latents at the start; the place channels alone do not."""
    autoencoder = bound()
    image = torch.zeros(1, 3, 6, 10)
    with torch.no_grad():
        autoencoder.patch.bias.zero_()
        blank = autoencoder.encode(image)
        assert blank.abs().max() < 1e-5  # no pixels, no content, whatever the token's place
        assert autoencoder.encode(torch.randn(1, 3, 6, 10)).abs().min(1).values.max() > 1e-3


def test_a_token_starts_by_reading_most_of_its_own_patch() -> None:
    torch.manual_seed(0)
    autoencoder = ViTAutoencoder(patch_size=2, num_tokens=16, width=64, encoder_layers=1, decoder_layers=1)
    autoencoder.bind(1, (8, 8), width=8, encoder_width=8)
    image = torch.randn(4, 1, 8, 8, requires_grad=True)
    own = 0
    for token in range(16):
        (gradient,) = torch.autograd.grad(autoencoder.encode(image)[:, :, token].square().sum(), image)
        per_patch = torch.nn.functional.avg_pool2d(gradient.abs(), 2).mean((0, 1)).flatten()
        own += int(per_patch.argmax() == token)
    assert own >= 14


# ---- who depends on whom


@pytest.mark.parametrize("causal", [False, True])
def test_causal_tokens_do_not_depend_on_later_queries(causal: bool) -> None:
    autoencoder = bound(causal=causal)
    z_BCK = autoencoder.encode(torch.randn(1, 3, 6, 10))
    (gradient_KD,) = torch.autograd.grad(z_BCK[:, :, 2].sum(), autoencoder.queries.table)
    assert bool((gradient_KD[:3].abs().sum(-1) > 0).all())
    assert bool((gradient_KD[3:] == 0).all()) == causal


@pytest.mark.parametrize("causal", [False, True])
def test_every_token_reads_the_whole_image(causal: bool) -> None:
    autoencoder = bound(causal=causal)
    image = torch.randn(1, 3, 6, 10, requires_grad=True)
    for token in range(5):
        (gradient,) = torch.autograd.grad(autoencoder.encode(image)[:, :, token].sum(), image)
        assert bool((gradient.abs().sum(1) > 0).all())


@pytest.mark.parametrize("nested_dropout", [None, NestedDropout()])
@pytest.mark.parametrize("length", range(6))
def test_a_prefix_does_not_depend_on_what_follows(nested_dropout: NestedDropout | None, length: int) -> None:
    autoencoder = bound(nested_dropout=nested_dropout)
    torch.nn.init.normal_(autoencoder.absent)
    z, known = torch.randn(3, 7, 5), prefix(length, 5, 3)
    other = z.clone()
    other[:, :, length:] = math.nan
    assert torch.equal(autoencoder.decode_known(z, known), autoencoder.decode_known(other, known))
    leaf = z.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(autoencoder.decode_known(leaf, known).sum(), leaf)
    assert bool((gradient[:, :, length:] == 0).all())
    assert length == 0 or bool((gradient[:, :, :length].abs().sum(1) > 0).all())


def test_the_full_prefix_is_the_full_decode() -> None:
    autoencoder = bound(nested_dropout=NestedDropout())
    z = torch.randn(3, 7, 5)
    assert torch.equal(autoencoder.decode_known(z, prefix(5, 5, 3)), autoencoder.decode(z))


def test_training_drops_and_evaluation_does_not() -> None:
    autoencoder = bound(nested_dropout=NestedDropout())
    torch.nn.init.normal_(autoencoder.absent)
    z = torch.randn(1, 7, 5).expand(64, -1, -1)
    autoencoder.train()
    torch.manual_seed(3)
    dropped = autoencoder.decode(z)
    torch.manual_seed(3)
    known = NestedDropout().draw(64, 5, z.device)
    assert torch.equal(dropped, autoencoder.decode_known(z, known))
    assert len(dropped.flatten(1).unique(dim=0)) == 5  # one picture per length
    assert len(autoencoder.eval().decode(z).flatten(1).unique(dim=0)) == 1


# ---- nested dropout


@pytest.mark.parametrize(
    ("lengths", "num_tokens", "expected"),
    [
        (EveryLength(), 4, [1, 2, 3, 4]),
        (PowersOfTwo(), 8, [1, 2, 4, 8]),
        (PowersOfTwo(), 11, [1, 2, 4, 8, 11]),
        (PowersOfTwo(), 1, [1]),
        (PowersOfTwo(), 2, [1, 2]),
    ],
)
def test_lengths(lengths: PrefixLengths, num_tokens: int, expected: list[int]) -> None:
    assert lengths.of(num_tokens) == expected


@pytest.mark.parametrize(
    "dropout",
    [
        NestedDropout(),
        NestedDropout(probability=0.3),
        NestedDropout(probability=0.7, minimum=3, lengths=PowersOfTwo()),
        NestedDropout(minimum=12),
    ],
)
def test_kept_lengths_follow_the_closed_form(dropout: NestedDropout) -> None:
    """P(k) = probability / #lengths, and 1 - probability more for all; within five standard errors."""
    known = dropout.draw(40_000, 12, torch.device("cpu"))
    assert bool((known[:, 1:] <= known[:, :-1]).all())  # prefixes
    share = torch.bincount(known.sum(1), minlength=13) / len(known)
    choices = dropout.choices(12)
    for length in range(13):
        p = dropout.probability * (length in choices) / len(choices) + (1 - dropout.probability) * (length == 12)
        assert float(share[length]) == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / len(known)) + 1e-9)


# ---- as a tokenizer


def test_a_preview_of_a_sequence_is_its_prefix_decoded() -> None:
    tokenizer = tiny(NestedDropout()).eval()
    image = torch.rand(3, 1, 8, 8) * 2 - 1
    tokens = tokenizer.encode(image)
    assert tokenizer.layout.shapes == ((6,),)
    assert tokens.shape == (3, 6)
    known = prefix(2, 6, 3)
    preview = tokenizer.preview(tokens, known)
    assert torch.equal(preview, tokenizer.preview(tokens.where(known, 31), known))
    z = tokenizer.vectors(tokens).transpose(1, 2)
    assert torch.equal(preview, tokenizer.autoencoder.decode_known(z, known).clamp(-1, 1))
    assert torch.equal(tokenizer.preview(tokens, prefix(6, 6, 3)), tokenizer.decode(tokens))
    assert not torch.equal(preview, tokenizer.decode(tokens))


def test_a_preview_of_depths_is_of_the_places_known_on_any_of_them() -> None:
    tokenizer = tiny(NestedDropout(), PyramidQuantizer(pyramid=DepthPyramid(depth=3))).eval()
    torch.nn.init.normal_(tokenizer.autoencoder.absent)
    image = torch.rand(2, 1, 8, 8) * 2 - 1
    tokens = tokenizer.encode(image)
    assert tokenizer.layout.shapes == ((6,),) * 3
    known = torch.cat([prefix(4, 6, 2), prefix(2, 6, 2), prefix(0, 6, 2)], 1)
    preview = tokenizer.preview(tokens, known)
    assert torch.equal(preview, tokenizer.preview(tokens.where(known, 31), known))
    z = tokenizer.quantizer.assemble(tokenizer.vectors(tokens) * known[..., None], 2)
    assert torch.equal(preview, tokenizer.autoencoder.decode_known(z, prefix(4, 6, 2)).clamp(-1, 1))
    assert not torch.equal(preview, tokenizer.autoencoder.decode(z).clamp(-1, 1))
    whole_levels = (tokenizer.layout.level_N < 2).expand(2, -1)
    coarse = tokenizer.autoencoder.decode(tokenizer.canvas(tokens, 2)).clamp(-1, 1)
    assert torch.equal(tokenizer.preview(tokens, whole_levels), coarse)
    assert torch.equal(tokenizer.preview(tokens, torch.ones_like(whole_levels)), tokenizer.decode(tokens))


@pytest.mark.parametrize("nested_dropout", [None, NestedDropout()], ids=["whole", "nested"])
def test_validation_measures_prefixes_where_they_are_learned(
    nested_dropout: NestedDropout | None, tmp_path: Path
) -> None:
    tokenizer = tiny(nested_dropout)
    data = Digits(batch_size=64)
    trainer = L.Trainer(
        default_root_dir=tmp_path, accelerator="cpu", logger=False, enable_progress_bar=False, limit_val_batches=2
    )
    trainer.validate(tokenizer, data, verbose=False)
    found = {name: float(value) for name, value in trainer.callback_metrics.items() if "psnr_prefix" in name}
    assert list(found) == ([] if nested_dropout is None else ["val/psnr_prefix2", "val/psnr_prefix3"])
    assert not any("psnr" in name for name in tokenizer.state_dict())
    image = torch.cat([batch.image for batch, _ in zip(data.val_dataloader(), range(2), strict=False)])
    tokenizer.eval()
    for length in tokenizer.prefix_lengths:
        shown = tokenizer.preview(tokenizer.encode(image), prefix(length, 6, len(image)))
        error = ((shown - image) / 2).square().mean()
        assert found[f"val/psnr_prefix{length}"] == pytest.approx(float(-10 * error.detach().log10()), abs=1e-3)


def test_longer_prefixes_reconstruct_better(tmp_path: Path) -> None:
    """After a short training each further token lowers the error, and the four together by a fifth or more."""
    torch.manual_seed(1)
    tokenizer = VQTokenizer(
        facts=Digits().facts,
        autoencoder=ViTAutoencoder(
            patch_size=2, num_tokens=4, width=32, encoder_layers=1, decoder_layers=1, nested_dropout=NestedDropout()
        ),
        quantizer=VectorQuantizer(codebook_size=64, decay=0.9, revive_below=0.3),
        token_width=8,
        reconstruction=L2(),
        optimizer=AdamW(learning_rate=5e-3, betas=(0.9, 0.99), warmup_steps=5, weight_decay=0.0),
    )
    trainer(tmp_path, 300, limit_val_batches=0).fit(tokenizer, digits())
    tokenizer.eval()
    data = digits()
    data.setup("validate")
    image = data.parts.validation.batch(torch.arange(1100), known=False).image
    with torch.no_grad():
        tokens = tokenizer.encode(image)
        error = [float((tokenizer.preview(tokens, prefix(k, 4, 1100)) - image).square().mean()) for k in range(5)]
    assert error == sorted(error, reverse=True)
    assert error[4] < 0.8 * error[1]


def test_it_overfits_a_batch() -> None:
    autoencoder = small()
    autoencoder.bind(1, (8, 8), width=8, encoder_width=8)
    data = digits()
    data.setup("fit")
    image = data.parts.train.batch(torch.arange(4), known=False).image
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(250):
        loss = (autoencoder.decode(autoencoder.encode(image)) - image).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * losses[0]


def test_a_checkpoint_rebuilds_it(tmp_path: Path) -> None:
    tokenizer = tiny(NestedDropout(probability=0.5, minimum=2, lengths=PowersOfTwo()))
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=3, filename="{step}")
    trainer(tmp_path, 3, limit_val_batches=0, enable_checkpointing=True, callbacks=[saving]).fit(tokenizer, digits())
    rebuilt = rebuild(read(tmp_path / "step=3.ckpt"), Tokenizer)
    assert rebuilt.spec() == tokenizer.spec()
    image = torch.rand(4, 1, 8, 8) * 2 - 1
    tokens = tokenizer.eval().encode(image)
    assert torch.equal(rebuilt.encode(image), tokens)
    known = prefix(3, 6, 4)
    assert torch.equal(rebuilt.preview(tokens, known), tokenizer.preview(tokens, known))


def test_half_a_run_resumed_is_the_whole_run(tmp_path: Path) -> None:
    """The drawn lengths too: all weights and the codebook are bit-equal after 6 steps and after 3 + resume + 3."""
    torch.manual_seed(0)
    dropout = NestedDropout(probability=0.8)
    whole = tiny(dropout)
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    trainer(tmp_path, 6, limit_val_batches=0, enable_checkpointing=True, callbacks=[saving, RngState()]).fit(
        whole, digits()
    )
    resumed = tiny(dropout)
    torch.manual_seed(17)
    trainer(tmp_path, 6, limit_val_batches=0, callbacks=[RngState()]).fit(
        resumed, digits(), ckpt_path=tmp_path / "step=3.ckpt"
    )
    expected = whole.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in resumed.state_dict().items())


def test_parts_are_exchangeable() -> None:
    autoencoder = ViTAutoencoder(
        num_tokens=3,
        width=16,
        encoder_layers=1,
        decoder_layers=1,
        attention=Attention(num_heads=2, qk_norm=NormedQK()),
        feed_forward=GatedMLP(multiple_of=8),
        norm=RMSNorm(),
        nested_dropout=NestedDropout(lengths=PowersOfTwo()),
        causal=True,
    )
    rebuilt = from_spec(autoencoder.spec(), Autoencoder)
    assert rebuilt.spec() == autoencoder.spec()
    rebuilt.bind(1, (8, 4), width=2, encoder_width=2)
    assert rebuilt.decode(rebuilt.encode(torch.randn(2, 1, 8, 4))).shape == (2, 1, 8, 4)


def test_it_trains_with_another_quantizer(tmp_path: Path) -> None:
    tokenizer = VQTokenizer(
        facts=Digits().facts,
        autoencoder=small(nested_dropout=NestedDropout(probability=0.5)),
        quantizer=FSQ(levels=[5, 3]),
        token_width=2,
        optimizer=AdamW(learning_rate=3e-3),
    )
    before = tokenizer.autoencoder.last_layer.detach().clone()
    run = trainer(tmp_path, 3, limit_val_batches=0)
    run.fit(tokenizer, digits())
    assert bool(run.logged_metrics["train/loss"].isfinite())
    assert not torch.equal(before, tokenizer.autoencoder.last_layer)


def test_half_precision() -> None:
    autoencoder = bound(nested_dropout=NestedDropout()).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = autoencoder.encode(torch.randn(2, 3, 6, 10))
        image = autoencoder.decode(torch.cat([z, z[:, :3]], 1))
    assert bool(image.isfinite().all())


# ---- errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ViTAutoencoder(patch_size=0), "autoencoder.patch_size: must be at least 1, got 0"),
        (lambda: ViTAutoencoder(num_tokens=0), "autoencoder.num_tokens: must be from 1 to 65536, got 0"),
        (lambda: ViTAutoencoder(num_tokens=10**12), "autoencoder.num_tokens: must be from 1 to 65536"),
        (lambda: ViTAutoencoder(width=-1), "autoencoder.width: must be at least 1, got -1"),
        (lambda: ViTAutoencoder(encoder_layers=1001), "autoencoder.encoder_layers: must be from 1 to 1000, got 1001"),
        (lambda: ViTAutoencoder(decoder_layers=0), "autoencoder.decoder_layers: must be from 1 to 1000, got 0"),
        (lambda: ViTAutoencoder(width=30), "num_heads: 4 heads do not divide a width of 30"),
        (lambda: NestedDropout(probability=0.0), "nested_dropout.probability: must be positive and at most 1, got 0.0"),
        (
            lambda: NestedDropout(probability=math.nan),
            "nested_dropout.probability: must be positive and at most 1, got nan",
        ),
        (lambda: NestedDropout(minimum=0), "nested_dropout.minimum: must be at least 1, got 0"),
        (
            lambda: ViTAutoencoder(num_tokens=4, nested_dropout=NestedDropout(minimum=5)),
            "nested_dropout.minimum: must be at most num_tokens = 4, got 5",
        ),
    ],
)
def test_impossible_options_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_patch_that_does_not_fit_is_refused() -> None:
    facts = DataFacts(source="made up", channels=3, image_size=(28, 42))
    with pytest.raises(ValueError, match=r"patch_size: 4 does not divide image_size \(28, 42\); .* 1, 2, 7, 14, or"):
        VQTokenizer(facts=facts, autoencoder=ViTAutoencoder(patch_size=4))
