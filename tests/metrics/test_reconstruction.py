"""Figures of a tokenizer: each by hand, with its protocol."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from arlab.data.facts import DataFacts
from arlab.data.stream import Images
from arlab.features.classifier import FashionClassifier
from arlab.metrics.protocol import Protocol
from arlab.metrics.reconstruction import code_figures, evaluate_reconstruction
from arlab.orderings.step import Layout
from arlab.tokenizers.tokenizer import Tokenizer
from arlab.tokens import TokenSpace


class Darkened(Tokenizer):
    """Tokens are an image's intensities, of ``codebook_size`` or continuous; decoding darkens by a tenth."""

    def __init__(self, side: int = 12, codebook_size: int | None = 256, dark: float = 0.1) -> None:
        super().__init__()
        self.side = side
        self.dark = dark
        self.facts = DataFacts("gray", 1, (side, side))
        self.layout = Layout(((side, side),))
        self.space = TokenSpace(1, codebook_size)

    def encode(self, image_BCHW: Tensor) -> Tensor:
        flat_BN = image_BCHW.flatten(1)
        return flat_BN[..., None] if self.space.codebook_size is None else ((flat_BN + 1) * 127.5).round().long()

    def decode(self, tokens: Tensor) -> Tensor:
        flat_BN = tokens[..., 0] if self.space.codebook_size is None else tokens / 127.5 - 1
        return (flat_BN - self.dark).reshape(-1, 1, self.side, self.side)

    def vectors(self, tokens: Tensor) -> Tensor:
        raise NotImplementedError


def pictures(count: int, side: int = 12, low: int = 60) -> Images:
    rng = torch.Generator().manual_seed(0)
    pixels = torch.randint(low, 250, (count, 1, side, side), generator=rng, dtype=torch.uint8)
    return Images(pixels, torch.zeros(count, dtype=torch.int64))


def measure(tokenizer: Tokenizer, images: Images, batch_size: int = 4):  # type: ignore[no-untyped-def]
    return evaluate_reconstruction(
        tokenizer.eval(),
        images,
        torch.arange(len(images)),
        network=FashionClassifier(),
        protocol=Protocol(split="test", seed=3),
        batch_size=batch_size,
        num_shown=5,
    )


def test_every_figure_by_hand() -> None:
    images = pictures(10)
    measured = measure(Darkened(), images)
    figures = {name: figure.value for name, figure in measured.figures.items()}
    assert set(figures) == {
        *("psnr", "ssim", "perceptual_distance", "rFID@10", "kid"),
        *("tokens_per_image", "bits_per_image", "usage", "perplexity", "images_per_second"),
    }
    # A tenth of a range of 2 is 0.05 of the whole: 10 log10(1 / 0.05²).
    assert figures["psnr"] == pytest.approx(20 * math.log10(20), abs=1e-3)
    image = images.batch(torch.arange(10), known=False).image
    unit, dark = (image + 1) / 2, (image - 0.1 + 1) / 2
    expected = structural_similarity_index_measure(dark, unit, data_range=1.0)
    assert figures["ssim"] == pytest.approx(float(expected), abs=1e-5)
    distance = FashionClassifier().distance(image - 0.1, image).mean()
    assert figures["perceptual_distance"] == pytest.approx(float(distance), rel=1e-4)
    assert min(figures["rFID@10"], figures["images_per_second"]) > 0
    assert (figures["tokens_per_image"], figures["bits_per_image"]) == (144, 144 * 8)
    counts = torch.bincount(images.pixel_NCHW.flatten().long(), minlength=256).double()
    share = counts[counts > 0] / counts.sum()
    assert figures["usage"] == pytest.approx(float((counts > 0).double().mean()))
    assert figures["perplexity"] == pytest.approx(float((-(share * share.log()).sum()).exp()), rel=1e-4)
    assert measured.figures["psnr"].unit == "dB"


def test_each_figure_carries_its_protocol() -> None:
    figures = measure(Darkened(), pictures(10)).figures
    for name, figure in figures.items():
        protocol = figure.protocol
        assert (protocol.split, protocol.num_images, protocol.seed) == ("test", 10, 3)
        assert (protocol.dtype, protocol.device, protocol.torch_version) == ("float32", "cpu", torch.__version__)
        seen = name in ("perceptual_distance", "rFID@10", "kid")
        assert protocol.feature_network == ("fashion_classifier" if seen else None)
        assert protocol.feature_hash == (FashionClassifier().weights_hash if seen else None)


def test_nothing_lost_is_distance_zero() -> None:
    measured = measure(Darkened(dark=0.0), pictures(10))
    figures = {name: figure.value for name, figure in measured.figures.items()}
    assert figures["psnr"] > 100
    assert figures["ssim"] == pytest.approx(1)
    assert figures["kid"] == 0
    assert figures["rFID@10"] == pytest.approx(0, abs=1e-3)
    assert figures["perceptual_distance"] == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(measured.image_BCHW, measured.reconstruction_BCHW)


def test_batches_do_not_matter() -> None:
    one, other = (measure(Darkened(), pictures(10), batch_size).figures for batch_size in (3, 10))
    for name in set(one) - {"images_per_second"}:
        assert one[name].value == pytest.approx(other[name].value, rel=1e-4), name


def test_images_are_given_back_above_their_reconstructions() -> None:
    images = pictures(10)
    measured = measure(Darkened(), images)
    torch.testing.assert_close(measured.image_BCHW, images.batch(torch.arange(5), known=False).image)
    torch.testing.assert_close(measured.reconstruction_BCHW, measured.image_BCHW - 0.1)


def test_continuous_tokens_have_no_bits_and_small_images_no_ssim() -> None:
    figures = measure(Darkened(side=8, codebook_size=None), pictures(10, side=8)).figures
    assert not {"bits_per_image", "usage", "perplexity", "ssim"} & set(figures)
    assert figures["tokens_per_image"].value == 64


def test_a_codebook_too_large_to_count_has_bits_but_no_usage() -> None:
    figures = measure(Darkened(codebook_size=2**23), pictures(4)).figures
    assert figures["bits_per_image"].value == 144 * 23
    assert "usage" not in figures


def test_one_image_has_no_distance_between_sets() -> None:
    figures = measure(Darkened(), pictures(1)).figures
    assert not any(name.startswith(("rFID", "kid")) for name in figures)
    assert "psnr" in figures


def test_levels_are_told_apart() -> None:
    figures = code_figures(torch.tensor([[2, 2, 0, 0], [0, 0, 0, 4]]), own_codebooks=False)
    assert figures["usage"] == 0.75
    assert (figures["usage_level_0"], figures["usage_level_1"]) == (0.5, 0.25)
    assert figures["perplexity_level_0"] == pytest.approx(2)
    assert figures["perplexity_level_1"] == pytest.approx(1)
    assert figures["perplexity"] == pytest.approx(2**1.5)
    assert set(code_figures(torch.tensor([[1, 1]]), own_codebooks=False)) == {"usage", "perplexity"}


def test_equal_indices_of_codebooks_of_their_own_are_different_codes() -> None:
    figures = code_figures(torch.tensor([[2, 2, 0, 0], [2, 2, 0, 0]]), own_codebooks=True)
    assert figures["usage"] == 0.5
    assert figures["perplexity"] == pytest.approx(4)
