"""``arlab list families``: every family with its presets and settings, and one in full."""

from __future__ import annotations

import inspect
import re

import pytest

from arlab.checkpoints.importing import families
from arlab.cli.catalogue import kinds
from arlab.cli.main import main


def test_all_of_them_with_presets_and_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["list", "families"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:] if line.strip()}
    for name, family in families().items():
        told = set(re.findall(r"[\w.]+", lines[name]))
        assert {*family.presets, *inspect.signature(family).parameters} <= told
        assert "arXiv" in lines[name]
    # They are no parts of a configuration.
    assert not any("famil" in kind for kind in kinds())


@pytest.mark.parametrize("name", families())
def test_one_in_full(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["list", "families", name.upper()]) == 0
    out, family = capsys.readouterr().out, families()[name]
    for each in (family, *family.tokenizers):
        assert f"{each.__name__}  {each.__module__}\n" in out
        for key in inspect.signature(each).parameters:
            assert re.search(rf"^ {key} +\w.*  [a-z]", out, re.MULTILINE), key
    for preset in family.presets:
        assert re.search(rf"^  {preset}( +\w+=\S+)*$", out, re.MULTILINE), preset
    assert f" --family {name} " in out.splitlines()[-1]


def test_what_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "families", "rara"]) == 2
    assert capsys.readouterr().err.startswith("arlab: error: list: no family is called 'rara'. Did you mean 'rar'?")
    assert main(["list", "families", "--markdown"]) == 2
    assert capsys.readouterr().err.startswith("arlab: error: list: unexpected '--markdown'; it is for the matrix")
