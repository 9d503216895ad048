"""Training batches decoded from any level of a pyramid whose levels stand alone: FlexVAR's kind of tokenizer.

Letters: B batch, C vector width, h and w latent sides, N tokens.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F

from arlab.callbacks.rng_state import RngState
from arlab.data.data import Batch
from arlab.data.digits import Digits
from arlab.optimization import AdamW
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.adversarial import Adversarial
from arlab.tokenizers.autoencoder import Autoencoder, ConvAutoencoder
from arlab.tokenizers.losses import L2, ReconstructionLoss
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.vit import ViTAutoencoder
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.short_runs import StopAfter, digits, trainer


def flexible(random_level: float) -> PyramidQuantizer:
    """Of scales of 1 x 1, 2 x 3 and 4 x 6, or of 1 x 1, 2 x 2 and 4 x 4."""
    return PyramidQuantizer(
        pyramid=ScalePyramid(residual=False),
        quantizer=VectorQuantizer(codebook_size=32, decay=0.9, revive_below=0.3),
        commitment_weight=1.0,
        random_level=random_level,
    )


def bound(random_level: float) -> PyramidQuantizer:
    torch.manual_seed(0)
    quantizer = flexible(random_level)
    quantizer.bind(3, (4, 6))
    return quantizer


def latents(seed: int = 0) -> Tensor:
    return torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(seed))


def tokenizer(
    random_level: float,
    *,
    autoencoder: Autoencoder | None = None,
    reconstruction: ReconstructionLoss | None = None,
    adversarial: Adversarial | None = None,
) -> VQTokenizer:
    torch.manual_seed(0)
    small = ConvAutoencoder(channels=8, channel_multipliers=[1, 2], norm_groups=4)
    return VQTokenizer(
        facts=Digits().facts,
        autoencoder=small if autoencoder is None else autoencoder,
        quantizer=flexible(random_level),
        token_width=4,
        reconstruction=L2() if reconstruction is None else reconstruction,
        optimizer=AdamW(learning_rate=3e-3, warmup_steps=2),
        adversarial=adversarial,
    )


# ---- the quantizer


def test_the_decoder_gets_a_level_on_its_own_grid() -> None:
    quantizer = bound(1.0).train()
    assert quantizer.decoded == ((1, 1), (2, 3), (4, 6))
    z = latents().requires_grad_()
    seen = set()
    for _ in range(20):
        quantized = quantizer(z)
        grid = tuple(quantized.vectors.shape[2:])
        seen.add(grid)
        averaged = F.adaptive_avg_pool2d(z, grid)
        upstream = torch.randn_like(averaged)
        given, expected = (torch.autograd.grad((each * upstream).sum(), z)[0] for each in (quantized.vectors, averaged))
        torch.testing.assert_close(given, expected)
    assert seen == set(quantizer.decoded)


def test_it_gets_the_codes_of_that_level() -> None:
    quantizer = bound(1.0).train()
    for seed in range(8):
        codes_VC = quantizer.quantizer.get_buffer("codebook").clone()
        quantized = quantizer(latents(seed))
        if seed == 0:
            continue  # the codes start from this batch
        level = quantizer.decoded.index(tuple(quantized.vectors.shape[2:]))
        here_BN = quantized.tokens[:, quantizer.layout.tokens(level)]
        torch.testing.assert_close(quantized.vectors.flatten(2).mT, F.embedding(here_BN, codes_VC))


def test_how_often_each_level_is_drawn() -> None:
    quantizer = bound(0.6).train()
    counted = Counter(tuple(quantizer(latents()).vectors.shape[2:]) for _ in range(600))
    shares = [counted[grid] / 600 for grid in quantizer.decoded]
    assert shares == pytest.approx([0.2, 0.2, 0.6], abs=0.06)


def test_it_changes_what_is_decoded_in_training_alone() -> None:
    always, never = bound(1.0), bound(0.0)
    assert never.decoded == ((4, 6),)
    given, expected = always.train()(latents()), never.train()(latents())
    assert torch.equal(given.tokens, expected.tokens)
    assert torch.equal(given.loss, expected.loss)
    given, expected = always.eval()(latents(1)), never.eval()(latents(1))
    assert torch.equal(given.vectors, expected.vectors)
    assert torch.equal(given.loss, expected.loss)


def test_without_it_nothing_is_drawn() -> None:
    quantizer, before = bound(0.0).train(), torch.get_rng_state()
    quantizer(latents())
    assert torch.equal(torch.get_rng_state(), before)


# ---- in a tokenizer


def coarse_errors(random_level: float) -> list[float]:
    """After some training: how far what each level alone decodes to is from the image of its size."""
    model, data = tokenizer(random_level).train(), digits()
    data.setup("fit")
    image = data.parts.train.batch(torch.arange(32), known=False).image
    label = torch.zeros(32, dtype=torch.int64)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = model.training_step(Batch(image, label, label), 0)["loss"]
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    errors = []
    with torch.no_grad():
        tokens = model.eval().encode(image)
        for level, side in enumerate((2, 4, 8)):
            shown = model.preview(tokens, (model.layout.level_N <= level).expand(32, -1))
            averaged = F.interpolate(F.adaptive_avg_pool2d(image, side), (8, 8), mode="nearest")
            errors.append(float((shown - averaged).square().mean()))
    return errors


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_every_level_learns_to_be_an_image_of_its_size() -> None:
    coarse, middle, whole = coarse_errors(0.7)
    blind_coarse, blind_middle, _ = coarse_errors(0.0)
    assert coarse < 0.5 * blind_coarse
    assert middle < 0.75 * blind_middle
    assert whole < 0.3


def test_half_a_run_resumed_is_the_whole_run(tmp_path: Path) -> None:
    whole = tokenizer(0.7)
    trainer(tmp_path, 6, limit_val_batches=0, callbacks=[RngState()]).fit(whole, digits())
    saving = ModelCheckpoint(tmp_path, every_n_train_steps=3, save_top_k=-1, filename="{step}")
    stopped = trainer(
        tmp_path, 6, limit_val_batches=0, enable_checkpointing=True, callbacks=[saving, RngState(), StopAfter(3)]
    )
    stopped.fit(tokenizer(0.7), digits())
    resumed = tokenizer(0.7)
    trainer(tmp_path, 6, limit_val_batches=0, callbacks=[RngState()]).fit(
        resumed, digits(), ckpt_path=tmp_path / "step=3.ckpt"
    )
    expected = whole.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in resumed.state_dict().items())


class Sizes(ReconstructionLoss):
    """Writes down what sizes it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, reconstruction_BCHW: Tensor, image_BCHW: Tensor) -> Tensor:
        assert reconstruction_BCHW.shape == image_BCHW.shape
        self.seen.append(tuple(image_BCHW.shape[2:]))
        return F.mse_loss(reconstruction_BCHW, image_BCHW)


@pytest.mark.parametrize(("random_level", "sizes"), [(0.0, [(8, 8)]), (0.5, [(2, 2), (4, 4), (8, 8)])])
def test_the_reconstruction_loss_is_tried_at_every_size_before_training(
    random_level: float, sizes: list[tuple[int, int]]
) -> None:
    loss = Sizes()
    tokenizer(random_level, reconstruction=loss).refuse_data(digits())
    assert loss.seen == sizes


# ---- refusals


def test_what_takes_one_size_only_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^quantizer\.random_level: .* residual pyramid .*, got 0.5$"):
        PyramidQuantizer(random_level=0.5)
    with pytest.raises(ValueError, match=r"^tokenizer\.adversarial: .* leave one of them out$"):
        tokenizer(0.5, adversarial=Adversarial())
    vit = ViTAutoencoder(patch_size=2, num_tokens=4, width=16, encoder_layers=1, decoder_layers=1)
    with pytest.raises(ValueError, match=r"^tokenizer\.autoencoder: ViTAutoencoder decodes one size only"):
        tokenizer(0.5, autoencoder=vit)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
def test_impossible_shares_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"^quantizer\.random_level: must be from 0 to 1, got"):
        PyramidQuantizer(pyramid=ScalePyramid(residual=False), random_level=share)
