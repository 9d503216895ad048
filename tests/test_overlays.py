"""The overlays of experiments/overlays set head and tokenizer of any experiment, its own data's tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.cli.arguments import parse
from arlab.cli.experiment import Experiment, from_request
from arlab.cli.main import main
from arlab.discovery import discover
from arlab.generators.generator import Generator

ROOT = Path(__file__).parents[1]
OVERLAYS = sorted((ROOT / "experiments/overlays").glob("*.yaml"))
HEADS = {"diffusion": "DiffusionHead", "flow": "FlowHead"}
EXPERIMENTS = sorted(
    path
    for folder in ("fashion", "emoji32")
    for path in (ROOT / "experiments" / folder).glob("*.yaml")
    # Its random scales are of images, encoded anew in every step.
    if path.stem != "next_scale_flex"
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    discover()


def name(path: Path) -> str:
    return path.relative_to(ROOT / "experiments").with_suffix("").as_posix()


def laid_over(experiment: Path, overlay: Path) -> list[str]:
    return ["fit", "--config", str(experiment), "--config", str(overlay), "--trainer.accelerator", "cpu"]


def asked(experiment: Path, overlay: Path) -> Experiment:
    return from_request(parse(laid_over(experiment, overlay)))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=name)
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[pytest.mark.slow] if "emoji32" in path.parts else []) for path in EXPERIMENTS],
    ids=name,
)
def test_an_overlay_fits_an_experiment(path: Path, overlay: Path) -> None:
    experiment = asked(path, overlay)
    made = experiment.tokenizer_experiment()
    assert made is not None
    assert made.name == f"{path.parent.name}/tokenizers/kl"
    run = experiment.with_untrained_tokenizer().prepare()
    assert run.folder.path.parent == Path("runs", path.parent.name, path.stem)
    model = run.cli.build_model()
    assert isinstance(model, Generator)
    assert type(model.head).__name__ == HEADS[overlay.stem]
    assert not model.tokenizer.space.discrete


def test_all_overlays_are_known() -> None:
    assert [path.stem for path in OVERLAYS] == sorted(HEADS)


def test_the_tokenizers_run_is_the_one_it_has_alone() -> None:
    """So that it is trained once, whoever asks for it, by whichever path."""
    made = asked(
        ROOT / "experiments/fashion/raster.yaml", ROOT / "experiments/overlays/flow.yaml"
    ).tokenizer_experiment()
    alone = ["fit", "--config", str(ROOT / "experiments/fashion/tokenizers/kl.yaml"), "--trainer.accelerator", "cpu"]
    assert made is not None
    assert made.prepare().folder.path == from_request(parse(alone)).prepare().folder.path


def test_a_tokenizer_beside_the_experiment_is_called_as_fit_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overlay = ROOT / "experiments/overlays/flow.yaml"
    made = asked(ROOT / "experiments/emoji32/raster.yaml", overlay).tokenizer_experiment()
    assert made is not None
    assert made.title == str(ROOT / "experiments/emoji32/tokenizers/kl.yaml")
    monkeypatch.chdir(ROOT)
    made = asked(Path("experiments/emoji32/raster.yaml"), overlay).tokenizer_experiment()
    assert made is not None
    assert made.title == "experiments/emoji32/tokenizers/kl.yaml"


def test_one_beside_a_configuration_wins_over_those_above_it(tmp_path: Path) -> None:
    """The overlay's folder lies below one that has a tokenizers/kl.yaml, too: that of the experiment is meant."""
    for folder in ("tokenizers", "data/tokenizers", "overlays"):
        (tmp_path / "here" / folder).mkdir(parents=True)
    for folder in ("", "data"):
        (tmp_path / "here" / folder / "tokenizers/kl.yaml").write_text(
            f"base: {ROOT / 'experiments/fashion/tokenizers/kl.yaml'}\nexperiment: tokenizer_of_{folder or 'above'}\n"
        )
    (tmp_path / "here/overlays/flow.yaml").write_text((ROOT / "experiments/overlays/flow.yaml").read_text())
    (tmp_path / "here/data/raster.yaml").write_text(f"base: {ROOT / 'experiments/fashion/raster.yaml'}\n")
    made = asked(tmp_path / "here/data/raster.yaml", tmp_path / "here/overlays/flow.yaml").tokenizer_experiment()
    assert made is not None
    assert made.name == "tokenizer_of_data"


def test_without_such_a_tokenizer_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digits = ROOT / "experiments/digits/raster_pixels.yaml"
    assert main(laid_over(digits, ROOT / "experiments/overlays/flow.yaml")) == 2
    assert "model.tokenizer: no such experiment: tokenizers/kl.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("overlay", OVERLAYS, ids=name)
def test_an_overlay_trains_a_step(overlay: Path) -> None:
    words = ["--data.batch_size", "4", "--trainer.fast_dev_run", "true", "--trainer.callbacks", "[]"]
    assert main([*laid_over(ROOT / "experiments/emoji32/raster.yaml", overlay), *words]) == 0
