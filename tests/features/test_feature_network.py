"""Feature networks: the distance is the formula, images are fitted, and nothing of them leaks into a model."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import arlab.features.classifier as classifier
from arlab.data.emoji import Emoji
from arlab.data.fashion_mnist import FashionMNIST
from arlab.features.classifier import (
    EmojiClassifier,
    FashionClassifier,
    SavedClassifier,
    agreement,
    fashion_classifier,
    shipped,
)
from arlab.features.feature_network import Extractor, FeatureNetwork, hash_of

EMOJI_HASH = "b6b60c74c4bb4c42d801ff956e6430a20d57a4db5b641e2adb089d54f693ba6b"


class TwoMaps(Extractor):
    """A 1 x 1 convolution, and the same at half the size."""

    name = "two_maps"

    def __init__(self, channels: int = 3, weighted: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.convolution = nn.Conv2d(channels, 4, 1)
        self.weights = nn.ParameterList([torch.rand(4), torch.rand(4)]) if weighted else None

    def layers(self, image_BCHW: Tensor) -> list[Tensor]:
        fine = self.convolution(image_BCHW)
        return [fine, fine[..., ::2, ::2]]

    def features(self, image_BCHW: Tensor) -> Tensor:
        return self.convolution(image_BCHW).mean((2, 3))

    def layer_weights(self) -> list[Tensor] | None:
        return None if self.weights is None else list(self.weights)


class Tiny(FeatureNetwork):
    """Random weights, counted how often they are read."""

    def __init__(self, *, channels: int = 3, weighted: bool = False) -> None:
        self.channels = channels
        self.weighted = weighted
        self.loaded = 0

    def load(self) -> Extractor:
        self.loaded += 1
        return TwoMaps(self.channels, self.weighted)


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("weighted", [False, True])
def test_distance_is_the_formula(weighted: bool) -> None:
    network = Tiny(weighted=weighted)
    a, b = images(2, 3, 4, 6), images(2, 3, 4, 6, seed=1)
    weights = network.extractor.layer_weights() or [torch.ones(4)] * 2
    expected = torch.zeros(2, dtype=torch.float64)
    for u_BCHW, v_BCHW, w_C in zip(network.layers(a), network.layers(b), weights, strict=True):
        _, _, height, width = u_BCHW.shape
        for image in range(2):
            for y in range(height):
                for x in range(width):
                    u, v = u_BCHW[image, :, y, x].double(), v_BCHW[image, :, y, x].double()
                    expected[image] += (w_C * (u / u.norm() - v / v.norm()) ** 2).sum() / (height * width)
    torch.testing.assert_close(network.distance(a, b).double(), expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(network.distance(a, b), network.distance(b, a))
    assert torch.equal(network.distance(a, a), torch.zeros(2))


def test_unit_vectors_at_right_angles_are_at_distance_two() -> None:
    network = Tiny(channels=1)
    with torch.no_grad():
        network.extractor.convolution.weight.zero_()
        network.extractor.convolution.weight[0], network.extractor.convolution.weight[1] = 1, -1
        network.extractor.convolution.bias.zero_()
    maps = network.layers(torch.full((1, 1, 2, 2), 5.0))
    assert torch.equal(maps[0][0, :, 0, 0], torch.tensor([5.0, -5.0, 0.0, 0.0]))
    # -x gives the opposite direction, |u - v|² = 4 on each of two layers; twice x gives the same direction.
    one = images(1, 1, 2, 2) + 2
    assert network.distance(one, -one).item() == pytest.approx(8, abs=1e-5)
    assert network.distance(one, 2 * one).item() == pytest.approx(0, abs=1e-5)


def test_gradients_are_finite_where_features_are_all_zero() -> None:
    network = Tiny()
    with torch.no_grad():
        network.extractor.convolution.bias.zero_()
    dark = torch.zeros(1, 3, 4, 4, requires_grad=True)
    network.distance(dark, images(1, 3, 4, 4)).sum().backward()
    assert dark.grad is not None
    assert dark.grad.isfinite().all()


def test_gray_images_are_repeated_and_colour_is_refused_by_a_gray_network() -> None:
    gray = images(2, 1, 4, 4)
    colour = Tiny()
    assert torch.equal(colour.layers(gray)[0], colour.layers(gray.expand(-1, 3, -1, -1))[0])
    with pytest.raises(ValueError, match="two_maps: takes images of 1 channels, got 3"):
        Tiny(channels=1).layers(images(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"images must be \(B, C, H, W\), got \(3, 4, 4\)"):
        colour.layers(images(3, 4, 4))


def test_features_are_those_of_8_bit_images_in_any_batches() -> None:
    network = Tiny()
    pixels = torch.randint(0, 256, (7, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    expected = network.extractor.features(pixels.float() / 127.5 - 1)
    torch.testing.assert_close(network.features(pixels), expected)
    torch.testing.assert_close(network.features(pixels, batch_size=2), expected)
    with pytest.raises(ValueError, match=r"must be torch.uint8 in 0 .. 255, got torch.float32"):
        network.features(pixels.float())


def test_it_is_read_when_first_used_and_moves_no_random_number() -> None:
    network = Tiny()
    assert network.loaded == 0
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert not network.extractor.training
    assert torch.equal(torch.rand(1), expected)
    assert copy.deepcopy(network) is network
    assert network.extractor is network.extractor
    assert network.loaded == 1
    assert not any(parameter.requires_grad for parameter in network.extractor.parameters())


def test_read_in_validation_it_can_be_trained_through() -> None:
    network = Tiny()
    with torch.inference_mode():
        network.distance(images(1, 3, 4, 4), images(1, 3, 4, 4))
    image = images(1, 3, 4, 4).requires_grad_()
    network.distance(image, images(1, 3, 4, 4, seed=1)).sum().backward()
    assert image.grad is not None


def test_half_precision_is_measured_in_float32() -> None:
    network = Tiny()
    a, b = images(2, 3, 4, 6), images(2, 3, 4, 6, seed=1)
    assert network.distance(a.bfloat16(), b.bfloat16()).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        autocast = network.distance(a, b)
    assert autocast.dtype == torch.float32
    torch.testing.assert_close(autocast, network.distance(a, b), atol=0.05, rtol=0.05)


# ---- classifiers


def test_what_classifies_nothing_says_so() -> None:
    network = Tiny()
    assert network.classify(torch.zeros(3, 4)) is None
    assert network.class_names == ()


@pytest.mark.parametrize(("network", "data"), [(FashionClassifier(), FashionMNIST()), (EmojiClassifier(), Emoji())])
def test_the_shipped_networks_classify_features_by_the_classes_of_their_data(
    network: FeatureNetwork, data: FashionMNIST | Emoji
) -> None:
    assert network.class_names == data.facts.class_names
    pixels = data.parts.test.pixel_NCHW[:60]
    read = network.load().read(pixels)
    scores = network.classify(network.features(pixels), batch_size=25)
    torch.testing.assert_close(scores, read.logits_BK, atol=1e-5, rtol=1e-5)
    assert scores.shape == (60, len(network.class_names))
    assert network.classify(torch.zeros(0, 64)).shape == (0, len(network.class_names))
    with pytest.raises(ValueError, match=r"features must be \(N, D\), got \(64,\)"):
        network.classify(torch.zeros(64))


def test_class_scores_come_in_float32_whatever_the_network_computes_in() -> None:
    network = FashionClassifier()
    feature_ND = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    expected = network.classify(feature_ND)
    network.extractor.bfloat16()
    scores = network.classify(feature_ND.double())
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected, atol=0.2, rtol=0.1)


def test_the_shipped_gray_network_gives_the_figures_it_always_gave() -> None:
    pixels = FashionMNIST().parts.test.pixel_NCHW[:50]
    network = FashionClassifier()
    assert torch.equal(network.features(pixels), fashion_classifier().read(pixels).feature_BD)
    assert (network.name, network.weights_hash) == ("fashion_classifier", fashion_classifier().weights_hash)
    assert [tuple(each.shape[1:]) for each in network.layers(images(2, 1, 28, 28))] == [
        (32, 14, 14),
        (64, 7, 7),
        (128, 4, 4),
    ]


def test_the_shipped_colour_network_knows_emoji_it_has_not_seen() -> None:
    network, test = EmojiClassifier(), Emoji().parts.test
    assert agreement(network.load().read(test.pixel_NCHW).logits_BK, test.label_N) >= 0.7
    assert (network.name, network.weights_hash) == ("emoji_classifier", EMOJI_HASH)
    assert network.features(test.pixel_NCHW[:10]).shape == (10, 64)


def test_the_colour_network_is_small_and_says_how_it_was_made() -> None:
    path = Path(classifier.__file__).with_name("emoji_classifier.safetensors")
    assert path.stat().st_size < 250_000
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["data"] == "emoji32, 3365 training images"


def test_what_is_shipped_goes_by_channels() -> None:
    assert shipped(1) is shipped(1)
    assert (type(shipped(1)), type(shipped(3))) == (FashionClassifier, EmojiClassifier)
    with pytest.raises(ValueError, match=r"none is shipped for images of 2 channels \(1 or 3\)"):
        shipped(2)


def test_hash_tells_weights_apart_and_not_where_they_are() -> None:
    network = fashion_classifier()
    before = hash_of(network)
    assert hash_of(network.double().float()) == before
    network.project.bias[0] += 1e-3
    assert hash_of(network) != before


def test_a_classifier_of_ones_own(tmp_path: Path) -> None:
    mine = SavedClassifier(file=str(tmp_path / "mine.safetensors"))
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        mine.features(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    classifier.save_classifier(fashion_classifier(), tmp_path / "mine.safetensors", {})
    assert mine.weights_hash == FashionClassifier().weights_hash
