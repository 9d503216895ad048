"""Every shipped experiment trains, and every command in the documentation names what is there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from arlab.cli.main import main

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "experiments").rglob("*.yaml"))
# The others are laid over an experiment: tests/test_overlays.py, tests/test_debug_overlays.py.
# Those at published settings are too large for a step here: tests/test_published_sizes.py builds them.
EXPERIMENTS = [
    path
    for path in FILES
    if "model" in yaml.safe_load(path.read_text()) and not {"imagenet256", "overlays"} & {*path.parts}
]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_experiment_trains_a_step(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "images"
    write_images(images)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    words = ["--data.batch_size", "4", "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"]
    if "folder" in path.parts:
        words = ["--data", "ImageFolder", "--data.root", str(images), "--data.image_size", "[24, 16]", *words]
    if "tokenizers" not in path.parts:
        # Eight pictures of each class would take most of the time.
        words += ["--trainer.callbacks.num_per_class", "1"]
    assert main(["fit", "--config", str(path), *words]) == 0
    assert not list(Path.cwd().iterdir()), "a trial run leaves nothing behind"


def write_images(root: Path) -> None:
    """Two classes of 20 images that are not square."""
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = root / ("cats" if number % 2 else "dogs")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)).save(folder / f"{number}.png")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_experiment_tells_its_own_command(path: Path) -> None:
    assert re.search(rf"arlab fit .*--config {path.relative_to(ROOT).as_posix()}", path.read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_that_are_there(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"(?:experiments|arlab|tests|docs)/[\w/.-]+\.(?:yaml|py|md|LICENSE|safetensors)", text)
    linked = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")]
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [link for link in linked if not (document.parent / link).exists()]
    assert not missing


def test_the_tokenizer_of_the_documentation_is_exchanged_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    (written,) = re.findall(r"```yaml\n(# my_vq\.yaml\n.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("experiments").symlink_to(ROOT / "experiments")
    Path("my_vq.yaml").write_text(written)
    commands = re.findall(r"^arlab (fit .*(?:my_vq\.yaml|SimVQ|discriminator)[^#\n]*)", text, re.MULTILINE)
    assert len(commands) == 4
    small = ["--data.batch_size", "4", "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu"]
    for line in commands:
        assert main([*line.split(), *small]) == 0
    out = capsys.readouterr().out
    assert "model.quantizer: VectorQuantizer -> SimVQ; dropped: codebook_size=512, " in out


def test_the_readme_names_components_and_verbs_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^arlab (list|describe) (\S+)", text, re.MULTILINE)
    assert commands
    # All pairs include those of other tests' classes here: tests/cli/test_pairs.py looks at arlab's own.
    for command, name in set(commands) - {("list", "pairs")}:
        assert main([command, name]) == 0
    verbs = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make (\w+)", text)) <= set(verbs)
    capsys.readouterr()
