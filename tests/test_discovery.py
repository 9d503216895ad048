"""Components named on a command line."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from arlab.data.digits import Digits
from arlab.data.loaders import LoadedData
from arlab.discovery import discover, named
from arlab.features.feature_network import FeatureNetwork
from arlab.features.lpips import LPIPS


def test_scripts_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    load, imported = importlib.import_module, []

    def noted(name: str) -> ModuleType:
        imported.append(name)
        return load(name)

    monkeypatch.setattr(importlib, "import_module", noted)
    discover.__wrapped__()
    assert "arlab.features.lpips" in imported
    assert "arlab.features.train_classifier" not in imported


def test_options_are_read_as_what_the_class_wants() -> None:
    data = named(["Digits", "batch_size=7", "seed=3"], LoadedData, "data")
    assert isinstance(data, Digits)
    assert (data.batch_size, data.seed) == (7, 3)
    network = named(["LPIPS", "vgg=1e3", "linear=null"], FeatureNetwork, "network")
    assert isinstance(network, LPIPS)
    assert (network.vgg, network.linear) == ("1e3", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Digts"], "data: no LoadedData is called 'Digts'; there are: "),
        (["LoadedData"], "no LoadedData is called 'LoadedData'"),
        (["Digits", "batch_size"], "data: expected options of Digits as KEY=VALUE, got 'batch_size'"),
        (["Digits", "batch=7"], "data: Digits has no option 'batch'; its options: batch_size, seed, "),
        (["Digits", "batch_size=many"], "data: Digits: batch_size: expected int, got 'many'"),
        (["Digits", "batch_size=0"], "data.batch_size: must be at least 1, got 0"),
        (
            ["ImageFolder", "seed=1"],
            "data: ImageFolder needs root=VALUE image_size=VALUE behind it; its options: root,",
        ),
        (["LPIPS"], "no LoadedData is called 'LPIPS'"),
    ],
)
def test_what_is_wrong_is_told(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named(words, LoadedData, "data")
