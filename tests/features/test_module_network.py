"""A network of one's own: found by its class path, fitted with its weights, and refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from arlab.discovery import named
from arlab.features.feature_network import FeatureNetwork
from arlab.features.module_network import ModuleNetwork

NETS = """
import torch
from torch import nn

class Flat(nn.Module):
    def forward(self, image):
        return image.mean((2, 3))

class Flatter(Flat): pass

class Pooled(nn.Module):
    def __init__(self, width=5):
        super().__init__()
        self.convolution = nn.Conv2d(3, width, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, image):
        return self.norm(self.convolution(image)).mean((2, 3), keepdim=True)

class Needs(nn.Module):
    def __init__(self, width, *, depth):
        super().__init__()

class Fails(nn.Module):
    def __init__(self):
        super().__init__()
        raise RuntimeError('no such\\nthing')

class Rows(nn.Module):
    def forward(self, image):
        return image[:, 0, 0]

class Maps(nn.Module):
    def forward(self, image):
        return image

class Few(nn.Module):
    def forward(self, image):
        return image.mean((2, 3))[:1]

class Whole(nn.Module):
    def forward(self, image):
        return image.mean((2, 3)).long()

class Several(nn.Module):
    def forward(self, image):
        return image, image

class Picky(nn.Module):
    def forward(self, image):
        return image.reshape(-1, 999)

class NoNetwork: pass

def build():
    return Flat()
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_nets.py").write_text(NETS)
    (tmp_path / "own_broken.py").write_text("import nowhere_at_all")
    (tmp_path / "own_failing.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("own_nets", "own_broken", "own_failing"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def net(name: str, weights: str | None = None, channels: int = 3, image_size: int | None = None) -> ModuleNetwork:
    return ModuleNetwork(module=f"own_nets.{name}", weights=weights, channels=channels, image_size=image_size)


def pixels(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def weights() -> dict[str, Tensor]:
    torch.manual_seed(1)
    network = nn.ModuleDict({"convolution": nn.Conv2d(3, 5, 1), "norm": nn.BatchNorm2d(5)})
    return {**network.state_dict(), "norm.running_mean": torch.rand(5)}


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_its_features_are_the_networks_with_its_weights(suffix: str) -> None:
    given, images = weights(), pixels(4, 3, 6, 8)
    save_file(given, "w.safetensors") if suffix == "safetensors" else torch.save(given, "w.pth")
    words = ["ModuleNetwork", "module=own_nets.Pooled", f"weights=w.{suffix}", "channels=3"]
    network = named(words, FeatureNetwork, "network")
    assert network.name == "own_nets.Pooled"
    mean_BC = (images.float() / 127.5 - 1).mean((2, 3))
    projected_BD = mean_BC @ given["convolution.weight"][:, :, 0, 0].T + given["convolution.bias"]
    expected = (projected_BD - given["norm.running_mean"]) / (1 + 1e-5) ** 0.5  # as in evaluation
    torch.testing.assert_close(network.features(images), expected, atol=1e-5, rtol=1e-5)
    assert network.classify(expected) is None
    assert network.class_names == ()


def test_without_weights_it_says_so_is_always_the_same_and_moves_no_random_number() -> None:
    images = pixels(2, 3, 4, 4)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = net("Pooled").features(images)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(net("Pooled").features(images), first)
    assert net("Pooled").name == "own_nets.Pooled (untrained)"


def test_a_network_without_weights_takes_any_images_and_the_hash_tells_it_from_others() -> None:
    network = net("Flat")
    gray = pixels(2, 1, 4, 4)
    assert torch.equal(network.features(gray), network.features(gray.expand(-1, 3, -1, -1)))
    with pytest.raises(ValueError, match="takes images of 1 channels, got 3"):
        net("Flat", channels=1).features(pixels(1, 3, 4, 4))
    others = [net("Flatter"), net("Flat", image_size=8), net("Flat", image_size=9), net("Pooled")]
    assert len({each.weights_hash for each in (network, *others)}) == 5
    assert net("Flat").weights_hash == network.weights_hash


def test_changed_code_has_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from torch import nn\nclass Net(nn.Flatten):\n    def forward(self, x): return super().forward(x) * {}\n"
    hashes = []
    for times in (1, 1, 2):
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "mine_to_change", raising=False)
        (tmp_path / "mine_to_change.py").write_text(code.format(times))
        hashes.append(ModuleNetwork(module="mine_to_change.Net").weights_hash)
    assert hashes[0] == hashes[1] != hashes[2]


def test_images_are_resized_bilinearly() -> None:
    image = torch.tensor([[-1.0, 1.0]]).expand(1, 3, 2, 2)
    rows = net("Rows", image_size=4).extractor.features(image)
    torch.testing.assert_close(rows, torch.tensor([[-1, -0.5, 0.5, 1.0]]))
    # Where they shrink, nothing is skipped: one bright column in eight is an eighth of the light.
    striped = torch.zeros(1, 3, 8, 8)
    striped[..., 3] = 1
    assert net("Rows", image_size=2).extractor.features(striped).mean().item() == pytest.approx(1 / 8, abs=0.02)


def test_its_distance_compares_the_one_vector() -> None:
    network = net("Flat")
    a, b = (torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 2 - 1 for seed in (0, 1))
    u, v = a.mean((2, 3)), b.mean((2, 3))
    expected = (F.normalize(u) - F.normalize(v)).square().sum(1)
    torch.testing.assert_close(network.distance(a, b), expected)
    image = a.clone().requires_grad_()
    network.distance(image, b).sum().backward()
    assert image.grad is not None


def told(network: ModuleNetwork) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+\Z") as error:
        network.features(pixels(2, 3, 4, 4))
    return str(error.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("own_nest.Flat", "ModuleNetwork.module: no module is called 'own_nest'; install it, or name its file: --plug"),
        ("own_broken.Flat", "ModuleNetwork.module: no module is called 'nowhere_at_all'"),
        ("own_failing.Flat", "ModuleNetwork.module: importing own_failing fails: ZeroDivisionError: division by zero"),
        ("own_nets.Flaat", "ModuleNetwork.module: own_nets has no 'Flaat'"),
        ("own_nets.build", "ModuleNetwork.module: own_nets.build is no torch.nn.Module class"),
        ("own_nets.NoNetwork", "ModuleNetwork.module: own_nets.NoNetwork is no torch.nn.Module class"),
        ("own_nets.Needs", "own_nets.Needs needs constructor arguments (missing a required argument: 'width')"),
        ("own_nets.Fails", "ModuleNetwork.module: building own_nets.Fails fails: RuntimeError: no such thing"),
        ("own_nets.Maps", "gave float32 (2, 3, 4, 4)"),
        ("own_nets.Few", "must give features (B, D) or (B, D, 1, 1) of images (2, 3, 4, 4), gave float32 (1, 3)"),
        ("own_nets.Whole", "gave int64 (2, 3)"),
        ("own_nets.Several", "must give a tensor (B, D) of features, gave a tuple"),
        ("own_nets.Picky", "fails on images (2, 3, 4, 4): RuntimeError: shape '[-1, 999]' is invalid"),
    ],
)
def test_what_is_no_such_network_is_told(path: str, message: str) -> None:
    assert message in told(ModuleNetwork(module=path))


def test_weights_that_do_not_fit_are_told() -> None:
    given = weights()
    save_file({name: value for name, value in given.items() if name != "norm.weight"}, "less.safetensors")
    save_file({**given, "head.bias": torch.zeros(1)}, "more.safetensors")
    save_file({**given, "norm.bias": torch.zeros(3)}, "odd.safetensors")
    torch.save({"epoch": 3, "state_dict": given}, "nested.pth")
    torch.save(nn.Linear(1, 1), "code.pth")
    torch.save({**given, "norm.bias": 3}, "number.pth")
    for file, message in (
        ("no.pth", "ModuleNetwork.weights: no such file: no.pth; expected a state dict of own_nets.Pooled, .pth or"),
        ("less.safetensors", "ModuleNetwork.weights: less.safetensors has no norm.weight"),
        ("more.safetensors", "more.safetensors has 'head.bias', which is no weight of Pooled"),
        ("odd.safetensors", "odd.safetensors does not fit Pooled: size mismatch for norm.bias"),
        ("number.pth", "number.pth does not fit Pooled: "),
        ("nested.pth", "nested.pth has no convolution.weight"),
        ("code.pth", "code.pth is not readable as a state dict of own_nets.Pooled"),
    ):
        assert message in told(net("Pooled", weights=file))


def test_options_out_of_range_are_refused_before_anything_is_imported() -> None:
    for path in ("Flat", "own nets.Flat", "own_nets.", ".Flat", "os;x.y", ""):
        with pytest.raises(ValueError, match=r"^network\.module: expected a class path as my_package\.nets\.MyNet"):
            ModuleNetwork(module=path)
    with pytest.raises(ValueError, match=r"^network\.channels: must be from 1 to"):
        ModuleNetwork(module="own_nets.Flat", channels=0)
    with pytest.raises(ValueError, match=r"^network\.image_size: must be from 1 to"):
        ModuleNetwork(module="own_nets.Flat", image_size=10**9)
    assert "own_nets" not in sys.modules
