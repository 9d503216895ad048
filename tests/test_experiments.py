"""Every shipped experiment trains, and every command in the documentation names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from arlab.cli.main import main

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.yaml"))
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_experiment_trains_a_step(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--data.batch_size", "4", "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"]
    assert main(["fit", "--config", str(path), *words]) == 0
    assert not list(tmp_path.iterdir()), "a trial run leaves nothing behind"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_experiment_tells_its_own_command(path: Path) -> None:
    assert f"arlab fit --config {path.relative_to(ROOT).as_posix()}" in path.read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_that_are_there(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"(?:experiments|arlab|tests|docs)/[\w/.-]+\.(?:yaml|py|md|LICENSE|safetensors)", text)
    linked = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in linked if not (document.parent / link).exists()]
    assert not missing


def test_the_readme_names_components_and_verbs_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^arlab (list|describe) (\S+)", text, re.MULTILINE)
    assert commands
    for command, name in commands:
        assert main([command, name]) == 0
    verbs = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make (\w+)", text)) <= set(verbs)
    capsys.readouterr()
