"""Exports on a hub: the package huggingface_hub itself, and a hub on this machine that it talks to."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

import arlab
from arlab.cli.main import main
from arlab.data.digits import Digits
from arlab.runs.export import export
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests import fake_hub
from tests.fake_hub import FakeHub
from tests.tiny_runs import save_run, tiny_generator

RUN = "runs/tiny/raster/aaaaaaaa"
SETTINGS = {"HF_TOKEN": fake_hub.TOKEN, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed"
)


def modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]


@pytest.fixture(autouse=True)
def _in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    save_run(tiny_generator(), RUN)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeHub]:
    """A hub, and the package imported for it, which looks at where its hub is when it is imported."""
    before = {name: sys.modules.pop(name) for name in modules()}
    with fake_hub.running() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.address)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("huggingface")))
        for key in ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
            patch.delenv(key, raising=False)
        for key, value in SETTINGS.items():
            patch.setenv(key, value)
        importlib.import_module("huggingface_hub")
        yield hub
    for name in modules():
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture
def hub(client: FakeHub) -> FakeHub:
    """The same hub, empty."""
    for held in (client.repositories, client.blobs, client.asked, client.broken):
        held.clear()
    return client


def fetched(name: str = "me/raster", revision: str | None = None) -> arlab.Trained:
    return arlab.from_pretrained(name, revision=revision, cache_dir="cache")


@needs_package
def test_what_is_pushed_comes_back(hub: FakeHub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", RUN, "--push", "me/raster"]) == 0
    names = ["README.md", "arlab.json", "model.safetensors", "tokenizer.safetensors"]
    assert capsys.readouterr().out == f"{hub.address}/me/raster  0.023 MiB: {', '.join(names)}\n"
    repository = hub.repositories["me/raster"]
    assert repository.private
    assert sorted(repository.newest) == names
    # Weights go by the way of large files.
    assert set(hub.blobs.values()) == {repository.newest[name] for name in names if name.endswith(".safetensors")}
    card = repository.newest["README.md"].decode()
    assert 'arlab.from_pretrained("me/raster").sample(' in card
    assert "hf download me/raster --include" in card
    repository.commit({**repository.newest, "setup.py": b"raise SystemExit"})
    hub.asked.clear()
    model = fetched()
    assert torch.equal(model.sample(num_images=3).tokens, arlab.load(RUN).sample(num_images=3).tokens)
    # No code is ever fetched.
    assert sum("GET /blobs/" in each for each in hub.asked) == 2
    assert not any("setup.py" in each for each in hub.asked)
    # By its number, from an earlier commit.
    assert fetched(revision=next(iter(repository.commits))).facts == model.facts


@needs_package
def test_of_a_former_export_nothing_is_left(hub: FakeHub) -> None:
    assert main(["export", RUN, "--push", "me/raster"]) == 0
    repository = hub.repositories["me/raster"]
    repository.commit({**repository.newest, "config.yaml": b"", "notes.txt": b"mine"})
    save_run(VQTokenizer(facts=Digits().facts, token_width=4), "runs/tiny/vq/bbbbbbbb")
    assert main(["export", "runs/tiny/vq/bbbbbbbb", "--push", "me/raster"]) == 0
    assert sorted(repository.newest) == ["README.md", "arlab.json", "model.safetensors", "notes.txt"]
    assert isinstance(fetched().model, VQTokenizer)


@needs_package
def test_it_is_public_where_that_is_said_and_kept_where_a_folder_is_named(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", RUN, "--out", "kept", "--push", "me/raster", "--public"]) == 0
    kept, pushed = capsys.readouterr().out.splitlines()
    assert kept.startswith("kept  0.023 MiB: ")
    assert pushed.startswith(f"{hub.address}/me/raster  0.023 MiB: ")
    monkeypatch.delenv("HF_TOKEN")
    assert fetched().facts == arlab.load("kept").facts == arlab.load(RUN).facts


@needs_package
def test_an_imports_configuration_goes_with_it(hub: FakeHub) -> None:
    folder = export(RUN, "released/mine")
    begins = {"class_path": "FromRun", "init_args": {"run": "released/mine"}}
    tree = {"model": {"init_args": {"tokenizer": "released/mine", "initialisation": begins}}}
    (folder / "config.yaml").write_text(f"# arlab fit --config released/mine/config.yaml\n{yaml.safe_dump(tree)}")
    assert main(["export", "released/mine", "--push", "me/raster"]) == 0
    files = hub.repositories["me/raster"].newest
    # Nobody's own folders are told; --model.tokenizer and the like name others.
    assert not any(b"released/mine" in held for held in files.values())
    assert files["config.yaml"].startswith(b"# arlab fit --config raster/config.yaml\n")
    assert files["config.yaml"].count(b"raster") == 3
    assert b'"config.yaml" --local-dir FOLDER' in files["README.md"]


@needs_package
def test_a_folder_is_taken_as_it_is(hub: FakeHub) -> None:
    export(RUN, "here/model")
    assert fetched("here/model").facts == arlab.load(RUN).facts
    assert arlab.from_pretrained(Path(RUN)).facts == arlab.load(RUN).facts
    assert hub.asked == []
    with pytest.raises(ValueError, match="revision: here/model is a folder here, which has none, got 'v1'"):
        fetched("here/model", "v1")


HIDDEN = "no such folder here, and the hub shows you no such repository (to see private ones: hf auth login)"


@needs_package
@pytest.mark.parametrize(
    ("name", "revision", "token", "broken", "message"),
    [
        ("me/none", None, fake_hub.TOKEN, {}, HIDDEN),
        ("me/raster", None, None, {}, HIDDEN),
        ("me/raster", None, "hf_other", {}, HIDDEN),
        ("me/raster", "v1", fake_hub.TOKEN, {}, "the hub has no revision 'v1' of it"),
        ("me/raster", None, fake_hub.TOKEN, {"api/models": 403}, "the hub refuses (403 Forbidden: "),
        ("me/raster", None, fake_hub.TOKEN, {"resolve": 403}, "the hub refuses (403 Forbidden: "),
        ("me/ras--ter", None, fake_hub.TOKEN, {}, "no such folder here, and no name on the hub (Cannot have -- or .."),
    ],
)
def test_what_cannot_be_fetched_is_told_in_one_line(
    name: str,
    revision: str | None,
    token: str | None,
    broken: dict[str, int],
    message: str,
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.repositories["me/raster"] = fake_hub.Repository(private=True)
    hub.repositories["me/raster"].commit({"arlab.json": b"{}"})
    hub.broken.update(broken)
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as caught:
        fetched(name, revision)
    assert str(caught.value).startswith(f"{name}: {message}")


@needs_package
def test_a_hub_that_is_not_there(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Name or service\nnot known")

    monkeypatch.setattr(importlib.import_module("huggingface_hub"), "snapshot_download", unreachable)
    told = r"me/raster: no such folder here, and the hub cannot be reached \(Name or service not known\)"
    with pytest.raises(ValueError, match=told):
        fetched()


@needs_package
def test_what_is_no_export_is_told_so(hub: FakeHub) -> None:
    hub.repositories["me/others"] = fake_hub.Repository(private=False)
    hub.repositories["me/others"].commit({"README.md": b"", "model.safetensors": b""})
    with pytest.raises(ValueError, match=r"me/others: on the hub, but no export of arlab, it has no arlab\.json"):
        fetched("me/others")


def without_token(hub: FakeHub, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("HF_TOKEN")


def refusing(status: int) -> Callable[[FakeHub, pytest.MonkeyPatch], None]:
    return lambda hub, patch: hub.broken.update({"commit": status})


FORBIDDEN = "the hub lets you not write there (hf auth login?)"


@needs_package
@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("me/raster", without_token, f"{FORBIDDEN}: "),
        ("others/raster", lambda hub, patch: None, f"{FORBIDDEN}: 403 Forbidden: "),
        ("me/raster", refusing(403), f"{FORBIDDEN}: 403 Forbidden: "),
        ("me/raster", refusing(413), "the hub refuses: "),
        ("me/ras--ter", lambda hub, patch: None, "no name on the hub: Cannot have -- or .. in repo_id"),
    ],
)
def test_a_failed_upload_keeps_the_folder_and_says_nothing_of_success(
    name: str,
    make: Callable[[FakeHub, pytest.MonkeyPatch], None],
    message: str,
    hub: FakeHub,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make(hub, monkeypatch)
    assert main(["export", RUN, "--push", name]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"arlab: error: push: {name}: {message}")
    assert main(["export", RUN, "--out", "kept", "--push", name]) == 2
    assert capsys.readouterr().out.startswith("kept  0.023 MiB: ")
    assert arlab.load("kept").facts.num_classes == 3


@pytest.mark.parametrize("name", ["raster", "a/b/c", "me/", "/raster", "me/ras ter", "", "me/.."])
def test_no_name_is_asked_for_that_cannot_be_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path(name).exists():
        with pytest.raises(ValueError, match="no such folder here, and no name on the hub, which is OWNER/NAME"):
            fetched(name)
    assert main(["export", RUN, "--push", name]) == 2
    assert f"push: expected OWNER/NAME, got {name!r}" in capsys.readouterr().err


def test_without_the_package_it_is_told_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("huggingface_hub", "huggingface_hub.errors"):
        monkeypatch.setitem(sys.modules, name, None)
    how = "install huggingface_hub: pip install huggingface_hub"
    with pytest.raises(ValueError, match=f"me/raster: no such folder here; to look for it on the hub {how}"):
        fetched()
    assert main(["export", RUN, "--out", "out", "--push", "me/raster"]) == 2
    assert capsys.readouterr().err == f"arlab: error: push: {how}\n"
    assert not Path("out").exists()
    assert main(["export", RUN, "--out", "out"]) == 0


def test_where_it_goes_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", RUN]) == 2
    assert "required: --out or --push" in capsys.readouterr().err
    assert main(["export", RUN, "--out", "out", "--public"]) == 2
    assert capsys.readouterr().err == "arlab: error: public: has no effect without --push OWNER/NAME\n"
