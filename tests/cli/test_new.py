"""What ``arlab new`` writes works as it is, is told apart from what is there, and never takes its place."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import arlab
from arlab.cli.arguments import parse
from arlab.cli.config import read
from arlab.cli.experiment import from_request
from arlab.cli.main import main
from arlab.cli.new import TEMPLATES, camel, snake
from arlab.plugins import registry, sources

ROOT = Path(arlab.__file__).parents[1]
PARTS = ("ordering", "pyramid", "head")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    yield
    for module in list(registry._LOADED):
        del registry._LOADED[module], sys.modules[module]
    sources._LEFT_OUT.clear()


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on the error stream."""
    line = capsys.readouterr().err
    assert line.startswith("arlab: error: ")
    assert line.count("\n") == 1
    return line


def files() -> set[str]:
    return {path.as_posix() for path in Path().rglob("*") if path.is_file()}


def test_parts_pass_their_tests_and_are_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    for kind in PARTS:
        stem, cls = f"{kind}_of_mine", f"{kind.capitalize()}OfMine"
        assert main(["new", kind, stem]) == 0
        assert f"the {kind} {cls}" in capsys.readouterr().out
        text = Path(f"plugins/{stem}.py").read_text()
        assert f"class {cls}(" in text
        assert f"plugins/{stem}.py" in text
        for written in (text, Path(f"plugins/test_{stem}.py").read_text()):
            assert not re.search(r"my_(ordering|pyramid|head)|My(Ordering|Pyramid|Head)", written)
        assert main(["list", f"{kind}s"]) == 0
        assert re.search(rf" {cls} .* plugin plugins/{stem}.py", capsys.readouterr().out)
    assert len(files()) == 6
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "plugins"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_parts_are_tidy() -> None:
    for kind in PARTS:
        assert main(["new", kind, f"own_{kind}", "--out", "parts"]) == 0
    assert "parts/own_head.py" in Path("parts/own_head.py").read_text()
    for words in (["check", "--config", str(ROOT / "pyproject.toml"), "--ignore=D1,I001"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *words, "--line-length=120", "parts"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ordering", "1st"], "name: expected a Python name such as my_part, got '1st'"),
        (["ordering", "my-part"], "name: expected a Python name such as my_part, got 'my-part'"),
        (["ordering", "../up"], "name: expected a Python name such as my_part, got '../up'"),
        (["ordering", ""], "name: expected a Python name such as my_part, got ''"),
        (["head", "class"], "name: expected a Python name such as my_part, got 'class'"),
        (["experiment", "über"], "name: expected a Python name such as my_part, got 'über'"),
        (["head", "_hidden"], "name: must begin with a letter and have at most 60, got '_hidden'"),
        (["head", "x" * 300], "name: must begin with a letter and have at most 60"),
        (["pyramid", "random"], "name: a plugin cannot be called random.py"),
        (["pyramid", "test_it"], "name: a plugin cannot be called test_it.py"),
        (["pyramid", "Tensor"], "name: a class Tensor is imported by the file itself"),
        (["ordering", "raster"], "name: Raster is taken (orderings, arlab.orderings.raster)"),
        (["head", "Snake"], "name: Snake is taken"),
        (["pyramid", "fsq"], "name: FSQ is taken"),
        (["orderng", "x"], "invalid choice: 'orderng'"),
        (["ordering"], "required: NAME"),
        (["ordering", "x", "--data", "fashion"], "data: is an option of arlab new experiment alone"),
        (["experiment", "x", "--data", "fashio"], "data: no images are called 'fashio'. Did you mean 'fashion'?"),
        (
            ["experiment", "x", "--ordering", "Rastr"],
            "ordering: no class named 'Rastr' is loaded. Did you mean 'Raster'",
        ),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_what_cannot_be_is_told(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", *words]) == 2
    assert message in told(capsys)
    assert not files()


@pytest.mark.parametrize("name", ["thing.py", "test_thing.py"])
def test_nothing_is_overwritten(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("plugins").mkdir()
    Path("plugins", name).write_text("mine")
    assert main(["new", "ordering", "thing"]) == 2
    assert f"name: plugins/{name} is there already" in told(capsys)
    assert files() == {f"plugins/{name}"}
    assert Path("plugins", name).read_text() == "mine"


def test_a_plugins_name_is_taken_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "ordering", "thing"]) == 0
    capsys.readouterr()
    assert main(["new", "head", "Thing", "--out", "heads"]) == 2
    assert "name: Thing is taken (orderings, plugin plugins/thing.py)" in told(capsys)


@pytest.mark.parametrize(
    ("name", "file", "cls"), [("ab_c2", "ab_c2", "AbC2"), ("AbC", "ab_c", "AbC"), ("FSQx", "fs_qx", "FSQx")]
)
def test_files_and_classes_are_named_as_python_does(name: str, file: str, cls: str) -> None:
    assert (snake(name), camel(name)) == (file, cls)


# ---- experiments


def test_an_experiment_of_ones_own_ordering_runs_both_stages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "ordering", "backwards_again"]) == 0
    assert main(["new", "experiment", "mine", "--ordering", "BackwardsAgain"]) == 0
    written = {"experiments/fashion/mine.yaml", "experiments/fashion/tokenizers/vq.yaml"}
    assert written <= files()
    fast = ["--trainer.max_steps", "2", "--trainer.val_check_interval", "1", "--trainer.limit_val_batches", "1"]
    fast += ["--data.batch_size", "8"]
    stages = [*fast, "--trainer.callbacks", "[]", *(word.replace("--", "--tokenizer.") for word in fast)]
    quiet = ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
    assert main(["fit", "--config", "experiments/fashion/mine.yaml", *stages, *quiet]) == 0
    (run,) = Path("runs/fashion/mine").iterdir()
    assert (run / "checkpoints/best.ckpt").is_file()
    assert main(["sample", str(run), "--num_images", "1"]) == 0


@pytest.mark.parametrize("data", ["fashion", "emoji32", "folder"])
@pytest.mark.parametrize(
    ("ordering", "tokenizer"),
    [
        ("Raster", "vq"),
        ("NextNeighbor", "vq"),
        ("NextScale", "multi_scale"),
        ("NextFrequency", "frequency"),
        ("NextDepth", "residual"),
    ],
)
def test_an_ordering_gets_a_tokenizer_it_can_order(ordering: str, tokenizer: str, data: str) -> None:
    assert main(["new", "experiment", "mine", "--ordering", ordering, "--data", data]) == 0
    assert files() == {f"experiments/{data}/mine.yaml", f"experiments/{data}/tokenizers/{tokenizer}.yaml"}
    root = ["--data.root", "images"] if data == "folder" else []
    made = from_request(parse(["fit", "--config", f"experiments/{data}/mine.yaml", *root]))
    own = made.tokenizer_experiment()
    assert own is not None
    assert own.name == f"{data}/tokenizers/{tokenizer}"
    # The settings of the experiment that ships with the sources, whose run is therefore the same.
    shipped = ROOT / f"experiments/{data}/tokenizers/{tokenizer}.yaml"
    if shipped.is_file():
        assert plain(own.folders[0] / f"{tokenizer}.yaml") == plain(shipped)


def plain(path: Path) -> Any:
    """A configuration with its bases, classes without options by name alone."""
    return _short(read(path, []))


def _short(node: Any) -> Any:
    if isinstance(node, dict):
        short = {key: _short(value) for key, value in node.items()}
        return short["class_path"] if short.keys() == {"class_path", "init_args"} and not short["init_args"] else short
    return [_short(item) for item in node] if isinstance(node, list) else node


def test_a_tokenizer_that_is_there_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "experiment", "one"]) == 0
    tokenizer = Path("experiments/fashion/tokenizers/vq.yaml")
    tokenizer.write_text(tokenizer.read_text() + "# mine\n")
    capsys.readouterr()
    assert main(["new", "experiment", "two", "--ordering", "NextNeighbor"]) == 0
    assert f"{tokenizer}  was there already, and is used" in capsys.readouterr().out
    assert tokenizer.read_text().endswith("# mine\n")
    assert main(["new", "experiment", "one"]) == 2
    assert "name: experiments/fashion/one.yaml is there already" in told(capsys)
    assert main(["new", "experiment", "three", "--out", "here"]) == 0
    assert (
        yaml.safe_load(Path("here/three.yaml").read_text())["model"]["init_args"]["tokenizer"] == "tokenizers/vq.yaml"
    )
    assert Path("here/tokenizers/vq.yaml").is_file()


def test_templates_are_part_of_the_package() -> None:
    """setuptools takes what the project says, not what lies there."""
    held = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["arlab"]
    assert f"{TEMPLATES.relative_to(ROOT / 'arlab').as_posix()}/*" in held
