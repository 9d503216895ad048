"""Exports on a hub, without one: what is asked of huggingface_hub, and what is said where it does not go well."""

from __future__ import annotations

import importlib.util
import inspect
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import arlab
from arlab.cli.main import main
from arlab.runs.export import export
from tests.tiny_runs import save_run, tiny_generator

RUN = "runs/tiny/raster/aaaaaaaa"


class HubError(Exception):
    """As the hub's own: with an answer, or without one where there is no network."""

    def __init__(self, text: str, response: object = None) -> None:
        super().__init__(text)
        self.response = response


class RepositoryNotFoundError(HubError):
    pass


class RevisionNotFoundError(HubError):
    pass


class LocalTokenNotFoundError(OSError):
    pass


class Hub:
    """What arlab asks of the package, and a folder in place of the net."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.fails: Exception | None = None

    def snapshot_download(self, name: str, **options: Any) -> str:
        self._ask("snapshot_download", repo_id=name, **options)
        return f"net/{name}"

    def HfApi(self) -> Hub:
        return self

    def create_repo(self, name: str, **options: Any) -> str:
        self._ask("create_repo", repo_id=name, **options)
        return f"https://hub/{name}"

    def upload_folder(self, **options: Any) -> None:
        self._ask("upload_folder", **options)
        shutil.copytree(options["folder_path"], f"net/{options['repo_id']}", dirs_exist_ok=True)

    def _ask(self, what: str, **options: Any) -> None:
        self.asked.append((what, options))
        if self.fails is not None:
            raise self.fails


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    save_run(tiny_generator(), RUN)
    made, package, errors = Hub(), types.ModuleType("huggingface_hub"), types.ModuleType("huggingface_hub.errors")
    vars(package).update(snapshot_download=made.snapshot_download, HfApi=made.HfApi, errors=errors, __path__=[])
    for error in (RepositoryNotFoundError, RevisionNotFoundError, LocalTokenNotFoundError):
        setattr(errors, error.__name__, error)
    monkeypatch.setitem(sys.modules, "huggingface_hub", package)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", errors)
    return made


def test_what_is_pushed_comes_back(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", RUN, "--push", "me/raster"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("me/raster  ")
    assert out.endswith("\nhttps://hub/me/raster\n")
    assert hub.asked[0] == (
        "create_repo",
        {"repo_id": "me/raster", "repo_type": "model", "private": True, "exist_ok": True},
    )
    assert not Path(hub.asked[1][1]["folder_path"]).exists()
    card = Path("net/me/raster/README.md").read_text()
    assert 'arlab.from_pretrained("me/raster").sample(' in card
    assert "hf download me/raster" in card
    model = arlab.from_pretrained("me/raster", revision="v1", cache_dir="cache")
    assert torch.equal(model.sample(num_images=3).tokens, arlab.load(RUN).sample(num_images=3).tokens)
    what, asked = hub.asked[-1]
    assert (what, asked["revision"], asked["cache_dir"]) == ("snapshot_download", "v1", "cache")
    # No code is ever fetched.
    assert set(asked["allow_patterns"]) == {"arlab.json", "*.safetensors", "README.md", "config.yaml"}


def test_it_is_public_where_that_is_said_and_kept_where_a_folder_is_named(hub: Hub) -> None:
    assert main(["export", RUN, "--out", "kept", "--push", "me/raster", "--public"]) == 0
    assert hub.asked[0][1]["private"] is False
    assert arlab.load("kept").facts == arlab.load(RUN).facts


def test_a_folder_is_taken_as_it_is(hub: Hub) -> None:
    export(RUN, "here/model")
    assert arlab.from_pretrained("here/model").facts == arlab.load(RUN).facts
    assert arlab.from_pretrained(Path(RUN)).facts == arlab.load(RUN).facts
    assert hub.asked == []
    with pytest.raises(ValueError, match="revision: here/model is a folder here, which has none, got 'v1'"):
        arlab.from_pretrained("here/model", revision="v1")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RepositoryNotFoundError("404", response=1), "the hub shows you no such repository"),
        (RevisionNotFoundError("404", response=1), "me/raster: the hub has no revision 'v1' of it"),
        (HubError("Name or service\nnot known"), r"the hub cannot be reached \(Name or service not known\)"),
        (OSError("offline"), r"the hub cannot be reached \(offline\)"),
        (HubError("500 Server Error", response=1), r"the hub refuses \(500 Server Error\)"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line(error: Exception, message: str, hub: Hub) -> None:
    hub.fails = error
    with pytest.raises(ValueError, match=message) as caught:
        arlab.from_pretrained("me/raster", revision="v1")
    assert str(caught.value).startswith("me/raster: ")
    assert "\n" not in str(caught.value)


def test_what_is_no_export_is_told_so() -> None:
    Path("net/me/others").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"me/others: on the hub, but no export of arlab, it has no arlab\.json"):
        arlab.from_pretrained("me/others")


@pytest.mark.parametrize("name", ["raster", "a/b/c", "me/", "/raster", "me/ras ter", "", "me/.."])
def test_no_name_is_asked_for_that_cannot_be_one(name: str, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path(name).exists():
        with pytest.raises(ValueError, match="no such folder here, and no name on the hub, which is OWNER/NAME"):
            arlab.from_pretrained(name)
    assert main(["export", RUN, "--push", name]) == 2
    assert f"push: expected OWNER/NAME, got {name!r}" in capsys.readouterr().err
    assert hub.asked == []


def test_without_the_package_it_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("huggingface_hub", "huggingface_hub.errors"):
        monkeypatch.setitem(sys.modules, name, None)
    how = "install huggingface_hub: pip install huggingface_hub"
    with pytest.raises(ValueError, match=f"me/raster: no such folder here; to look for it on the hub {how}"):
        arlab.from_pretrained("me/raster")
    assert main(["export", RUN, "--out", "out", "--push", "me/raster"]) == 2
    assert capsys.readouterr().err == f"arlab: error: push: {how}\n"
    assert not Path("out").exists()
    assert main(["export", RUN, "--out", "out"]) == 0


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (HubError("403 Forbidden", response=1), "the hub lets you not write there (hf auth login?): 403 Forbidden"),
        (LocalTokenNotFoundError("Token is required"), "the hub lets you not write there (hf auth login?): Token is r"),
        (HubError("timed out"), "the hub cannot be reached: timed out"),
    ],
)
def test_a_failed_upload_keeps_the_folder(
    error: Exception, message: str, hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.fails = error
    assert main(["export", RUN, "--out", "kept", "--push", "me/raster"]) == 2
    assert capsys.readouterr().err.startswith(f"arlab: error: push: me/raster: {message}")
    assert arlab.load("kept").facts.num_classes == 3


def test_where_it_goes_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", RUN]) == 2
    assert "required: --out or --push" in capsys.readouterr().err
    assert main(["export", RUN, "--out", "out", "--public"]) == 2
    assert capsys.readouterr().err == "arlab: error: public: has no effect without --push OWNER/NAME\n"


@pytest.mark.skipif(importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed")
def test_the_package_takes_what_is_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("huggingface_hub", "huggingface_hub.errors"):
        monkeypatch.delitem(sys.modules, name)
    package = importlib.import_module("huggingface_hub")
    errors = importlib.import_module("huggingface_hub.errors")

    def takes(function: Callable[..., object], *names: str) -> bool:
        return set(names) <= set(inspect.signature(function).parameters)

    assert takes(package.snapshot_download, "repo_id", "revision", "cache_dir", "allow_patterns")
    assert takes(package.HfApi.create_repo, "repo_id", "repo_type", "private", "exist_ok")
    assert takes(package.HfApi.upload_folder, "repo_id", "folder_path", "commit_message")
    for error in (RepositoryNotFoundError, RevisionNotFoundError, LocalTokenNotFoundError):
        assert issubclass(getattr(errors, error.__name__), Exception)
