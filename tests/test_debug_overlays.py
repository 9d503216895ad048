"""The overlays of experiments/debug fit every shipped experiment, and do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from arlab.cli.arguments import parse
from arlab.cli.experiment import from_request
from arlab.cli.training import main
from arlab.discovery import discover
from arlab.runs.folder import RunFolder
from tests.cli.tiny_experiments import PIXELS, write_experiments
from tests.data.pictures import fill

ROOT = Path(__file__).parents[1]
OVERLAYS = sorted((ROOT / "experiments/debug").glob("*.yaml"))
# Those at published settings are too large to be built here but for their size: tests/test_published_sizes.py. Other
# overlays are no experiments: tests/test_overlays.py.
EXPERIMENTS = sorted(
    path
    for path in (ROOT / "experiments").rglob("*.yaml")
    if path not in OVERLAYS and not {"imagenet256", "overlays"} & {*path.parts}
)
TINY, TINY_VQ = "experiments/tiny/raster.yaml", "experiments/tiny/tokenizers/vq.yaml"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)


def laid_over(experiment: str, overlay: str, *words: str) -> list[str]:
    debug = ROOT / "experiments/debug" / f"{overlay}.yaml"
    return ["fit", "--config", experiment, "--config", str(debug), "--trainer.accelerator", "cpu", *words]


def only_run(experiment: str) -> RunFolder:
    (run,) = Path("runs", experiment).iterdir()
    return RunFolder(run)


def logged(run: RunFolder, tag: str) -> list[float]:
    return [each.value for each in EventAccumulator(str(run.path / "logs")).Reload().Scalars(tag)]


def name(path: Path) -> str:
    return path.relative_to(ROOT / "experiments").with_suffix("").as_posix()


@pytest.mark.parametrize("overlay", OVERLAYS, ids=name)
@pytest.mark.parametrize("path", EXPERIMENTS, ids=name)
def test_an_overlay_fits_an_experiment(path: Path, overlay: Path, tmp_path: Path) -> None:
    words = []
    if path.is_relative_to(ROOT / "experiments/folder"):
        root = fill(tmp_path / "images", {"one": 10, "other": 10})
        words = ["--data", "ImageFolder", "--data.root", str(root), "--data.image_size", "32"]
    discover()
    run = from_request(parse(laid_over(str(path), overlay.stem, *words))).with_untrained_tokenizer().prepare()
    assert run.folder.path.parent == Path("runs/debug", overlay.stem)
    trainer = run.cli.build_trainer(tmp_path, [])
    assert trainer.max_steps == {"overfit": 300, "profile": 50, "tiny": 20}[overlay.stem]
    assert run.cli.build_model().facts == run.data.facts


@pytest.mark.parametrize("overlay", OVERLAYS, ids=name)
def test_an_overlay_tells_its_own_command(overlay: Path) -> None:
    command = f"arlab fit --config experiments/fashion/raster.yaml --config experiments/debug/{overlay.name}"
    assert command in overlay.read_text()


def test_tiny_runs_both_stages_once(tmp_path: Path) -> None:
    write_experiments(tmp_path)
    assert main(laid_over(TINY, "tiny")) == 0
    for experiment in ("debug/tiny_tokenizer", "debug/tiny"):
        run = only_run(experiment)
        assert run.finished
        assert torch.load(run.last, weights_only=True)["global_step"] == 20
        assert sorted(path.name for path in (run.path / "samples").iterdir()) == ["step-000010.png", "step-000020.png"]
    assert sorted(path.name for path in Path("runs").iterdir()) == ["debug"]


def test_tiny_runs_a_tokenizer_alone(tmp_path: Path) -> None:
    write_experiments(tmp_path)
    assert main(laid_over(TINY_VQ, "tiny")) == 0
    assert only_run("debug/tiny").finished


def test_overfit_learns_one_batch_and_keeps_the_model_that_knows_it_best(tmp_path: Path) -> None:
    write_experiments(tmp_path)
    able = ["--model.backbone.width", "32", "--model.backbone.dropout", "0", "--model.optimizer.learning_rate", "0.01"]
    assert main(laid_over(TINY, "overfit", *PIXELS, *able, "--data.batch_size", "8")) == 0
    run = only_run("debug/overfit")
    losses, others = logged(run, "train/loss"), logged(run, "val/loss")
    assert losses[-1] < 0.2 * losses[0]
    assert losses[-1] < 0.2 * others[-1]
    assert torch.load(run.best, weights_only=True)["global_step"] == 100 * (1 + others.index(max(others)))


def test_profile_writes_its_table(tmp_path: Path) -> None:
    write_experiments(tmp_path)
    assert main(laid_over(TINY, "profile", *PIXELS, "--data.batch_size", "8", "--trainer.callbacks", "[]")) == 0
    table = (only_run("debug/profile").path / "logs/fit-profile.txt").read_text()
    for action in ("run_training_batch", "backward", "train_dataloader_next"):
        assert action in table
