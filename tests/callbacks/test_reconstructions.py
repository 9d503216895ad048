"""Pictures: their values, their layout, and that they are written whole."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from arlab.backbones.attention import Attention
from arlab.callbacks.reconstructions import Reconstructions
from arlab.data.digits import Digits
from arlab.images import image_grid, to_uint8
from arlab.pyramids.scale import ScalePyramid
from arlab.tokenizers.autoencoder import Autoencoder, ConvAutoencoder
from arlab.tokenizers.nested_dropout import NestedDropout
from arlab.tokenizers.quantizers.pyramid_quantizer import PyramidQuantizer
from arlab.tokenizers.quantizers.quantizer import Quantizer
from arlab.tokenizers.quantizers.vq import VectorQuantizer
from arlab.tokenizers.vit import ViTAutoencoder
from arlab.tokenizers.vq_tokenizer import VQTokenizer


def test_each_validation_writes_images_above_their_reconstructions(tmp_path: Path) -> None:
    data = Digits(batch_size=64)
    tokenizer = VQTokenizer(
        facts=data.facts,
        autoencoder=ConvAutoencoder(channels=8, channel_multipliers=[1, 2]),
        quantizer=VectorQuantizer(codebook_size=16),
    )
    logger = TensorBoardLogger(tmp_path, name="board")
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=4,
        val_check_interval=2,
        logger=logger,
        callbacks=[Reconstructions(num_images=10, columns=8, scale=1)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(tokenizer, data)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["step-000002.png", "step-000004.png"]
    picture = np.asarray(Image.open(tmp_path / "samples" / "step-000004.png"))
    assert picture.shape == (4 * 10 + 2, 8 * 10 + 2, 3)  # two rows of images, two of reconstructions
    image = next(iter(data.val_dataloader())).image
    tokenizer.eval()
    reconstruction = tokenizer.decode(tokenizer.encode(image[:10]))
    for index in range(10):
        top, left = 2 + 20 * (index // 8), 2 + 10 * (index % 8)
        assert np.array_equal(picture[top : top + 8, left : left + 8, 0], to_uint8(image[index, 0]).numpy())
        below = picture[top + 10 : top + 18, left : left + 8, 0].astype(int)
        assert np.abs(below - to_uint8(reconstruction[index, 0]).numpy()).max() <= 1
    assert list(Path(logger.log_dir).glob("events*"))


def pictured(autoencoder: Autoencoder, quantizer: Quantizer, folder: Path) -> tuple[VQTokenizer, torch.Tensor]:
    """An untrained tokenizer, and its picture of six images in columns of four: (rows, 4, 8, 8)."""
    torch.manual_seed(0)
    data = Digits(batch_size=64)
    tokenizer = VQTokenizer(facts=data.facts, autoencoder=autoencoder, quantizer=quantizer, token_width=4)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[Reconstructions(num_images=6, columns=4, scale=1)],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        limit_val_batches=1,
    )
    trainer.validate(tokenizer, data, verbose=False)
    picture = np.asarray(Image.open(folder / "samples" / "step-000000.png"))[2:, 2:, 0]
    cells = torch.from_numpy(picture.copy()).unflatten(0, (-1, 10)).unflatten(2, (-1, 10)).transpose(1, 2)
    return tokenizer.eval(), cells[:, :, :8, :8]


def close(cells: torch.Tensor, image_BCHW: torch.Tensor) -> bool:
    return bool((cells[: len(image_BCHW)].int() - to_uint8(image_BCHW)[:, 0].int()).abs().max() <= 1)


def test_levels_have_a_row_each(tmp_path: Path) -> None:
    quantizer = PyramidQuantizer(
        pyramid=ScalePyramid(patch_nums=[1, 2, 4]), quantizer=VectorQuantizer(codebook_size=32)
    )
    conv = ConvAutoencoder(channels=8, channel_multipliers=[1, 1], res_blocks=0)
    tokenizer, cells = pictured(conv, quantizer, tmp_path)
    image = validation_images()
    tokens = tokenizer.encode(image)
    stages = [image]
    for level in range(1, 4):
        stages.append(conv.decode(tokenizer.canvas(tokens, level)).clamp(-1, 1))
    assert torch.equal(stages[-1], tokenizer.decode(tokens))
    assert len(cells) == 8  # four rows for the first four images, four for the other two
    for row, stage in enumerate(stages):
        assert close(cells[row], stage[:4])
        assert close(cells[4 + row], stage[4:])
        assert (cells[4 + row, 2:] == 255).all()
    assert not torch.equal(cells[1], cells[2])


@pytest.mark.parametrize("flexible", [True, False])
def test_a_decoder_of_prefixes_shows_some(flexible: bool, tmp_path: Path) -> None:
    vit = ViTAutoencoder(
        num_tokens=6,
        width=16,
        encoder_layers=1,
        decoder_layers=1,
        attention=Attention(num_heads=2),
        nested_dropout=NestedDropout() if flexible else None,
    )
    tokenizer, cells = pictured(vit, VectorQuantizer(codebook_size=32), tmp_path)
    image = validation_images()
    tokens = tokenizer.encode(image)
    stages = [image, tokenizer.decode(tokens)]
    if flexible:
        known = [(torch.arange(6) < length).expand(6, -1) for length in (2, 3)]
        stages[1:1] = [tokenizer.preview(tokens, known_BN) for known_BN in known]
    assert len(cells) == 2 * len(stages)
    assert all(close(cells[row], stage[:4]) for row, stage in enumerate(stages))


def validation_images() -> torch.Tensor:
    data = Digits(batch_size=64)
    data.setup("validate")
    batch = next(iter(data.val_dataloader()))
    return batch.image[:6]


def test_uint8_is_rounded_and_clipped() -> None:
    assert to_uint8(torch.tensor([-2.0, -1.0, 0.0, 0.499, 1.0, 3.0])).tolist() == [0, 0, 128, 191, 255, 255]


def test_a_grid_of_wide_images() -> None:
    image = torch.linspace(-1, 1, 5 * 3 * 2 * 4).view(5, 3, 2, 4)
    picture = image_grid(image, columns=3, padding=1, scale=2)
    assert picture.shape == (2 * (2 * 3 + 1), 2 * (3 * 5 + 1), 3)
    small = picture[::2, ::2]
    assert np.array_equal(small[4:6, 6:10], to_uint8(image[4]).permute(1, 2, 0).numpy())
    assert (small[4:6, 11:15] == 255).all()  # no sixth image: white


def test_a_gray_image_becomes_three_equal_channels() -> None:
    picture = image_grid(torch.rand(1, 1, 3, 3), columns=4, padding=0)
    assert picture.shape == (3, 3, 3)
    assert np.array_equal(picture[..., 0], picture[..., 2])


@pytest.mark.parametrize("shape", [(0, 1, 2, 2), (1, 2, 2, 2)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="a picture needs images"):
        image_grid(torch.zeros(shape), columns=1)
