"""Pixels as tokens: exact round trips and exact likelihoods."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from arlab.configurable import from_spec
from arlab.data.digits import Digits
from arlab.data.facts import DataFacts
from arlab.data.fashion_mnist import FashionMNIST
from arlab.data.stream import Images
from arlab.tokenizers.pixel import PixelTokenizer
from arlab.tokenizers.tokenizer import Tokenizer

RGB = DataFacts(source="made up", channels=3, image_size=(4, 6))


def every_intensity(facts: DataFacts) -> torch.Tensor:
    """Images that hold every intensity there is, in the form data modules give them."""
    count = -(-facts.levels // facts.dims)
    pixel = (torch.arange(count * facts.dims) % facts.levels).to(torch.uint8)
    pixel = pixel.view(count, facts.channels, *facts.image_size)
    return Images(pixel, torch.zeros(count), facts.levels).batch(torch.arange(count), known=False).image


@pytest.mark.parametrize("levels", [2, 16, 17, 256])
def test_the_round_trip_is_exact(levels: int) -> None:
    facts = replace(RGB, levels=levels)
    tokenizer = PixelTokenizer(facts=facts)
    image = every_intensity(facts)
    tokens = tokenizer.encode(image)
    assert sorted(tokens.unique().tolist()) == list(range(levels))
    assert torch.equal(tokenizer.decode(tokens), image)


def test_real_data_round_trips() -> None:
    fashion, digits = FashionMNIST(), Digits()
    for data, levels in ((fashion, 256), (digits, 17)):
        tokenizer = PixelTokenizer(facts=data.facts)
        assert tokenizer.space.codebook_size == levels
        image = next(iter(data.val_dataloader())).image
        assert torch.equal(tokenizer.decode(tokenizer.encode(image)), image)


def test_channels_are_interleaved() -> None:
    """Token (y, 3 x + c) is channel c of pixel (y, x)."""
    tokenizer = PixelTokenizer(facts=RGB)
    image = every_intensity(RGB)
    grid = tokenizer.encode(image).view(-1, *tokenizer.layout.shapes[0])
    assert tokenizer.layout.shapes == ((4, 18),)
    expected = ((image[0, 2, 3, 5] + 1) * 127.5).round().long()
    assert grid[0, 3, 3 * 5 + 2] == expected


def test_fewer_levels_decode_to_the_mean_of_their_bin() -> None:
    tokenizer = PixelTokenizer(facts=RGB, num_levels=16)
    image = every_intensity(RGB)
    intensity = ((image + 1) * 127.5).round()
    decoded = (tokenizer.decode(tokenizer.encode(image)) + 1) * 127.5
    torch.testing.assert_close(decoded, intensity.div(16, rounding_mode="floor") * 16 + 7.5)
    vectors = tokenizer.vectors(torch.tensor([[0, 15]]))
    torch.testing.assert_close(vectors[0, :, 0], torch.tensor([7.5, 247.5]) / 127.5 - 1)


@pytest.mark.parametrize("levels", [256, 16])
def test_bits_per_dim_of_a_uniform_model_by_hand(levels: int) -> None:
    """A model that knows nothing costs 8 bits per 8-bit value, whatever the number of tokens."""
    tokenizer = PixelTokenizer(facts=RGB, num_levels=levels)
    nats = RGB.dims * math.log(levels)
    assert tokenizer.bits_per_dim(nats) == pytest.approx(8.0)


def test_bits_per_dim_is_the_likelihood_of_the_intensities() -> None:
    """Summed over all 256 intensities of a pixel, 2^-bits is one: the figure is a normalised probability."""
    one = DataFacts(source="a pixel", channels=1, image_size=(1, 1))
    tokenizer = PixelTokenizer(facts=one, num_levels=8)
    log_prob = torch.randn(8, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    tokens = tokenizer.encode(every_intensity(one))[:, 0]
    bits = [tokenizer.bits_per_dim(-float(log_prob[token])) for token in tokens]
    assert sum(2**-b for b in bits if b is not None) == pytest.approx(1.0, abs=1e-5)


def test_data_of_17_levels_has_no_bins_to_tell_apart() -> None:
    tokenizer = PixelTokenizer(facts=Digits().facts)
    assert tokenizer.bits_per_dim(64 * math.log(17)) == pytest.approx(math.log2(17))


def test_unequal_bins_are_refused() -> None:
    with pytest.raises(ValueError, match=r"num_levels: 17 does not divide the 256 levels of made up; choose from 2, 4"):
        PixelTokenizer(facts=RGB, num_levels=17)
    with pytest.raises(ValueError, match=r"num_levels: 256 does not divide the 17 levels .*; choose from 17"):
        PixelTokenizer(facts=Digits().facts, num_levels=256)


def test_previews_show_each_channel_where_it_is_known() -> None:
    tokenizer = PixelTokenizer(facts=RGB)
    image = every_intensity(RGB)[:1]
    known = torch.zeros(1, RGB.dims, dtype=torch.bool)
    # All of pixel (0, 0), red and green of pixel (0, 1).
    known[:, :5] = True
    shown = torch.zeros_like(image)
    shown[:, :, 0, 0], shown[:, :2, 0, 1] = image[:, :, 0, 0], image[:, :2, 0, 1]
    assert torch.equal(tokenizer.preview(tokenizer.encode(image), known), shown)


def test_facts_are_needed_and_remembered() -> None:
    with pytest.raises(ValueError, match="facts: missing"):
        PixelTokenizer()
    rebuilt = from_spec(PixelTokenizer(facts=RGB, num_levels=4).spec(), Tokenizer)
    assert isinstance(rebuilt, PixelTokenizer)
    assert rebuilt.facts == RGB
    assert rebuilt.num_levels == 4
