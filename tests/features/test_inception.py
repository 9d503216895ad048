"""Inception is the package's network on 8-bit images; without package or weights one line says so."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.features.inception import Inception

BLOCKS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "MaxPool_2"),
    *("Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"),
    *("Mixed_7a", "Mixed_7b", "Mixed_7c"),
)


class StandIn(nn.Module):
    """Called as the package's network is: blocks of these names, uint8 images, a tuple of what was asked for."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: object = None) -> None:
        super().__init__()
        assert features_list == ["2048"]
        assert feature_extractor_weights_path is not None, "it would download"
        for block in BLOCKS:
            setattr(self, block, nn.AvgPool2d(2) if block.startswith(("MaxPool", "Mixed_6a")) else nn.Conv2d(3, 3, 1))
        self.fc = nn.Linear(3, 5)
        if feature_extractor_weights_path != "":
            self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))

    def forward(self, pixel_BCHW: Tensor) -> tuple[Tensor]:
        assert pixel_BCHW.dtype == torch.uint8
        x_BCHW = (resize(pixel_BCHW.float(), size=(299, 299), align_corners=False) - 128) / 128
        for block in BLOCKS:
            x_BCHW = getattr(self, block)(x_BCHW)
        return (x_BCHW.mean((2, 3)),)


def resize(image_BCHW: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    return F.interpolate(image_BCHW, size, mode="bilinear", align_corners=align_corners)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {name: ModuleType(f"torch_fidelity.{name}") for name in ("network", "resizing")}
    modules["network"].FeatureExtractorInceptionV3 = StandIn  # type: ignore[attr-defined]
    modules["resizing"].interpolate_bilinear_2d_like_tensorflow1x = resize  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", modules["network"])
    monkeypatch.setitem(sys.modules, "torch_fidelity.interpolate_compat_tensorflow", modules["resizing"])


@pytest.fixture
def stand_in(package: None) -> StandIn:
    torch.manual_seed(0)
    return StandIn("stand_in", ["2048"], "")


@pytest.fixture
def network(tmp_path: Path, stand_in: StandIn) -> Inception:
    torch.save(stand_in.state_dict(), tmp_path / "weights.pth")
    return Inception(weights=str(tmp_path / "weights.pth"))


def pixels(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_features_are_the_packages_of_exactly_the_8_bit_images(
    network: Inception, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("arlab.features.inception._AT_ONCE", 2)
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(network.features(every), stand_in(every)[0])
    many, gray = pixels(5, 3, 5, 7), pixels(2, 1, 5, 7)
    torch.testing.assert_close(network.features(many), stand_in(many)[0])
    torch.testing.assert_close(network.features(gray), stand_in(gray.expand(-1, 3, -1, -1))[0])


def test_class_scores_are_linear_without_bias_and_name_no_classes(network: Inception, stand_in: StandIn) -> None:
    features = network.features(pixels(4, 3, 5, 7))
    scores = network.classify(features)
    assert scores is not None
    torch.testing.assert_close(scores, features @ stand_in.fc.weight.T)
    assert network.class_names == ()


def test_its_distance_compares_four_maps_and_can_be_trained_through(network: Inception, stand_in: StandIn) -> None:
    images = pixels(2, 3, 5, 7)
    maps = network.layers(images.float() / 127.5 - 1)
    assert [each.shape[-1] for each in maps] == [149, 74, 37, 37]
    torch.testing.assert_close(maps[-1].mean((2, 3)), stand_in(images)[0], atol=1e-5, rtol=1e-5)
    image = (images.float() / 127.5 - 1).requires_grad_()
    distance = network.distance(image, torch.zeros_like(image))
    distance.sum().backward()
    assert (distance > 0).all()
    assert image.grad is not None
    assert image.grad.isfinite().all()


def test_other_weights_go_by_another_name(network: Inception, monkeypatch: pytest.MonkeyPatch) -> None:
    assert network.name == "inception_other_weights"
    its_hash = hashlib.sha256(Path(network.weights).read_bytes()).hexdigest()
    monkeypatch.setattr("arlab.features.inception._SHA256", its_hash)
    assert Inception(weights=network.weights).name == "inception"


def test_code_in_the_file_is_not_run(tmp_path: Path, package: None) -> None:
    torch.save({"fc.weight": nn.Linear(1, 1)}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match="is not readable as the weights of Inception"):
        Inception(weights=str(tmp_path / "code.pth")).features(pixels(1, 3, 4, 4))


def test_what_is_missing_is_named(tmp_path: Path, package: None) -> None:
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for file, message in (
        ("no.pth", r"Inception\.weights: no such file: no\.pth; expected .*pt_inception-2015-12-05-6726825d\.pth"),
        (str(tmp_path / "damaged.pth"), r"is not readable as the weights of Inception"),
        (str(tmp_path / "other.pth"), r"does not fit the network; expected .*pt_inception-2015-12-05-6726825d\.pth"),
    ):
        with pytest.raises(ValueError, match=message) as told:
            Inception(weights=file).features(pixels(1, 3, 4, 4))
        assert "\n" not in str(told.value)


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.delitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", raising=False)
    with pytest.raises(ValueError, match=r"is missing; pip install torch-fidelity torchvision$"):
        Inception(weights="no.pth").features(pixels(1, 3, 4, 4))


def test_a_package_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("torch_fidelity")]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torch_fidelity").mkdir()
    (tmp_path / "torch_fidelity" / "__init__.py").write_text("raise RuntimeError('operator does\\n not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"torch_fidelity is there but fails: RuntimeError: operator does not exist$"):
        Inception(weights="no.pth").features(pixels(1, 3, 4, 4))


def test_it_is_the_network_of_the_package(tmp_path: Path) -> None:
    package = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", exc_type=ImportError)
    torch.manual_seed(0)
    # Its constructor downloads, or reads a file; random weights are had from neither.
    held: dict[str, Tensor] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package.FeatureExtractorInceptionV3, "load_state_dict", lambda self, _: None)
        torch.save({}, tmp_path / "none.pth")
        theirs = package.FeatureExtractorInceptionV3(
            "theirs", ["2048", "logits_unbiased", "768"], str(tmp_path / "none.pth")
        )
    for name, value in theirs.state_dict().items():
        held[name] = torch.rand_like(value) if name.endswith("running_var") else value
    theirs.load_state_dict(held)
    # The published file is older than this count.
    torch.save({name: held[name] for name in held if "num_batches" not in name}, tmp_path / "random.pth")
    mine = Inception(weights=str(tmp_path / "random.pth"))
    images = pixels(3, 3, 32, 24)
    with torch.no_grad():
        features, scores, middle = theirs(images)
        maps = mine.layers(images.float() / 127.5 - 1)
    assert torch.equal(mine.features(images), features)
    assert torch.equal(mine.classify(features), scores)
    assert (features.shape, scores.shape) == ((3, 2048), (3, 1008))
    torch.testing.assert_close(maps[2].mean((2, 3)), middle, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(maps[3].mean((2, 3)), features, atol=1e-4, rtol=1e-4)
    assert [tuple(each.shape[1:]) for each in maps] == [(64, 73, 73), (192, 35, 35), (768, 17, 17), (2048, 8, 8)]
