"""Components named on a command line."""

from __future__ import annotations

import pytest

from arlab.data.digits import Digits
from arlab.data.loaders import LoadedData
from arlab.discovery import named
from arlab.metrics.features import FeatureNetwork
from arlab.metrics.lpips import LPIPS


def test_options_are_read_as_what_the_class_wants() -> None:
    data = named(["Digits", "batch_size=7", "seed=3"], LoadedData)
    assert isinstance(data, Digits)
    assert (data.batch_size, data.seed) == (7, 3)
    network = named(["LPIPS", "vgg=1e3", "linear=null"], FeatureNetwork)
    assert isinstance(network, LPIPS)
    assert (network.vgg, network.linear) == ("1e3", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Digts"], "no LoadedData is called 'Digts'; there are: "),
        (["LoadedData"], "no LoadedData is called 'LoadedData'"),
        (["Digits", "batch_size"], "Digits: expected options as KEY=VALUE, got 'batch_size'"),
        (["Digits", "batch=7"], "has no option 'batch'"),
        (["Digits", "batch_size=many"], "Digits: '<' not supported"),
        (["Digits", "batch_size=0"], "data.batch_size: must be at least 1, got 0"),
        (["LPIPS"], "no LoadedData is called 'LPIPS'"),
    ],
)
def test_what_is_wrong_is_told(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        named(words, LoadedData)
