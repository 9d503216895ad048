"""LPIPS is VGG16 as published, whatever file the weights come in; what is missing is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from arlab.features.lpips import LPIPS

# 'M' is a pooling; the indices of this list's layers are those of published state dicts.
PUBLISHED = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
ENDS = (3, 8, 15, 22, 29)  # of relu1_2, relu2_2, relu3_3, relu4_3, relu5_3


def published() -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    width = 3
    for entry in PUBLISHED:
        if isinstance(entry, int):
            layers += [nn.Conv2d(width, entry, 3, padding=1), nn.ReLU()]
            width = entry
        else:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def vgg() -> nn.Sequential:
    return published().eval()


@pytest.fixture(scope="module")
def linear() -> dict[str, Tensor]:
    widths = (64, 128, 256, 512, 512)
    return {f"lin{i}.model.1.weight": torch.rand(1, width, 1, 1) for i, width in enumerate(widths)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, vgg: nn.Sequential, linear: dict[str, Tensor]) -> Path:
    folder = tmp_path_factory.mktemp("lpips")
    state = {f"features.{name}": value for name, value in vgg.state_dict().items()}
    torch.save({**state, "classifier.0.weight": torch.zeros(1)}, folder / "vgg.pth")
    save_file(state, folder / "vgg.safetensors")
    torch.save(linear, folder / "linear.pth")
    return folder


def reference(vgg: nn.Sequential, a: Tensor, b: Tensor, linear: dict[str, Tensor] | None) -> Tensor:
    shift, scale = (torch.tensor(values)[:, None, None] for values in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)))
    total = torch.zeros(len(a))
    for level, end in enumerate(ENDS):
        u, v = (vgg[: end + 1]((image - shift) / scale) for image in (a, b))
        difference = (u / (u.norm(dim=1, keepdim=True) + 1e-10) - v / (v.norm(dim=1, keepdim=True) + 1e-10)) ** 2
        weight = torch.ones(1) if linear is None else linear[f"lin{level}.model.1.weight"]
        total += (difference * weight).sum(1).mean((1, 2))
    return total


def test_it_is_the_published_distance(files: Path, vgg: nn.Sequential, linear: dict[str, Tensor]) -> None:
    a, b = (torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(seed)) * 2 - 1 for seed in (0, 1))
    weighted = LPIPS(vgg=str(files / "vgg.pth"), linear=str(files / "linear.pth"))
    with torch.no_grad():
        torch.testing.assert_close(weighted.distance(a, b), reference(vgg, a, b, linear), atol=1e-5, rtol=1e-4)
        plain = LPIPS(vgg=str(files / "vgg.safetensors"))
        torch.testing.assert_close(plain.distance(a, b), reference(vgg, a, b, None), atol=1e-5, rtol=1e-4)
    assert weighted.name == "lpips_vgg16"
    assert weighted.weights_hash != plain.weights_hash
    pixels = torch.zeros(3, 1, 16, 16, dtype=torch.uint8)  # gray as well
    assert plain.features(pixels).shape == (3, 512)


def test_what_is_missing_is_named(files: Path, tmp_path: Path, linear: dict[str, Tensor]) -> None:
    vgg = str(files / "vgg.pth")
    image = torch.zeros(1, 3, 16, 16)
    torch.save({"lin0.model.1.weight": torch.ones(1, 63, 1, 1)}, tmp_path / "short.pth")
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for network, message in (
        (LPIPS(vgg="no.pth"), "LPIPS.vgg: no such file: no.pth; expected torchvision's VGG16 weights"),
        (LPIPS(vgg=vgg, linear="no.pth"), "LPIPS.linear: no such file: no.pth"),
        (LPIPS(vgg=str(files / "linear.pth")), "has no features.0.weight"),
        (LPIPS(vgg=vgg, linear=vgg), "has no lin0.model.1.weight"),
        (LPIPS(vgg=vgg, linear=str(tmp_path / "short.pth")), r"is \(1, 63, 1, 1\), expected \(64,\)"),
        (LPIPS(vgg=str(tmp_path / "broken.pth")), "is not readable as torchvision's VGG16 weights"),
        (LPIPS(vgg=str(tmp_path / "list.pth")), "holds no weights by name"),
        (LPIPS(vgg=vgg), r"at least 16 pixels a side, got \(1, 3, 8, 8\)"),
    ):
        with pytest.raises(ValueError, match=message):
            network.layers(image[..., :8, :8])
