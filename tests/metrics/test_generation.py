"""A few figures of generated images, with what they were measured with."""

import json

import pytest
import torch

from arlab.data.stream import Images
from arlab.features.classifier import FeatureClassifier
from arlab.metrics.generation import GenerationFigures, evaluate_generation, real_anchor
from arlab.metrics.protocol import Protocol


def images(num, seed, levels=256):
    rng = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, levels, (num, 1, 8, 8), generator=rng, dtype=torch.uint8)
    return Images(pixels, torch.arange(num) % 10, levels)


def tiny_network():
    torch.manual_seed(0)
    return FeatureClassifier(name="tiny", widths=(4, 8), num_features=6).eval()


def test_figures_carry_what_they_were_measured_with():
    network = tiny_network()
    protocol = Protocol(split="test", guidance_scale=2.0, temperature=1.0, seed=3, ema=True, dtype="float32")
    figures = evaluate_generation(network, images(30, 0), images(20, 1), protocol)
    assert figures.protocol.num_images == figures.num_generated == 20
    assert figures.num_real == 30
    assert (figures.protocol.feature_network, figures.protocol.feature_hash) == ("tiny", network.weights_hash)
    written = json.loads(figures.to_json())
    assert "frechet" not in written
    assert written["FID@20"] == figures.frechet > 0
    assert written["protocol"] == json.loads(figures.protocol.to_json())
    assert written["protocol"]["guidance_scale"] == 2.0
    assert written["protocol"]["torch_version"] == torch.__version__


def test_figures_do_not_depend_on_the_order_of_images():
    network, real, generated = tiny_network(), images(30, 0), images(20, 1)
    turned = Images(generated.pixel_NCHW.flip(0), generated.label_N.flip(0))
    one = evaluate_generation(network, real, generated, Protocol(split="test"))
    other = evaluate_generation(network, real, turned, Protocol(split="test"))
    assert one.frechet == pytest.approx(other.frechet, rel=1e-5)
    assert (one.agreement, one.precision, one.recall) == (other.agreement, other.precision, other.recall)


def test_a_set_against_itself_is_the_perfect_anchor():
    anchor = real_anchor(tiny_network(), images(30, 0), images(30, 0), "test against test")
    assert anchor.frechet == pytest.approx(0, abs=1e-5)
    assert (anchor.precision, anchor.recall) == (1.0, 1.0)
    assert anchor.agreement == anchor.real_agreement
    assert anchor.protocol.guidance_scale is None


@pytest.mark.parametrize(
    ("num_real", "num_generated", "name"),
    [(1000, 5000, "FID@1000"), (10_000, 9_999, "FID@9999"), (10_000,) * 2 + ("FID",)],
)
def test_only_ten_thousand_images_make_an_fid(num_real, num_generated, name):
    figures = GenerationFigures(1.0, 1.0, 2.0, 1.0, 1.0, num_real, num_generated, Protocol(split="test"))
    assert figures.fid_name == name


def test_images_of_another_depth_are_refused():
    with pytest.raises(ValueError, match="generated images: must have 256 intensity levels, got 17"):
        evaluate_generation(tiny_network(), images(10, 0), images(10, 1, levels=17), Protocol(split="test"))
