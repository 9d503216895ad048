"""Curves are what was trained: in steps and seconds, over interruptions, whatever lies in the folder."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from torch.utils.tensorboard.writer import SummaryWriter

from arlab.cli.main import main
from arlab.compare.curves import read_curves
from arlab.compare.record import Curve
from arlab.runs.folder import RunFolder


def log(run: Path, begun: float, points: dict[str, list[tuple[int, float, float]]]) -> None:
    """An event file: by name the index of a step, seconds since the file was begun, and the value."""
    with SummaryWriter(str(run / "logs"), filename_suffix=f".{begun:.0f}") as writer:
        writer.add_scalar("epoch", 0.0, 0, walltime=begun)
        for name, step, seconds, value in ((name, *point) for name, each in points.items() for point in each):
            writer.add_scalar(name, value, step, walltime=begun + seconds)
    (file,) = (run / "logs").glob(f"*.{begun:.0f}")
    _begin(file, begun)


def _begin(file: Path, begun: float) -> None:
    """Date the first event, which says when a file was begun."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
    from tensorboard.summary.writer.record_writer import RecordWriter

    events = list(LegacyEventFileLoader(str(file)).Load())
    events[0].wall_time = begun
    with file.open("wb") as out:
        for event in events:
            RecordWriter(out).write(event.SerializeToString())


def curves(run: Path) -> dict[str, Curve]:
    return {curve.name: curve for curve in read_curves(RunFolder(run))}


def test_losses_and_validation_are_read_and_nothing_else(tmp_path: Path) -> None:
    points = {
        "train/loss": [(49, 10.0, 3.0), (99, 20.0, math.nan), (149, 30.0, 2.0)],
        "val/nats_per_token": [(99, 24.0, 2.5)],
        "lr-AdamW/pg1": [(49, 10.0, 0.1)],
    }
    log(tmp_path, 1000.0, points)
    read = curves(tmp_path)
    assert list(read) == ["train/loss", "val/nats_per_token"]
    assert read["train/loss"] == Curve("train/loss", (50, 150), (10.0, 30.0), (3.0, 2.0))
    assert read["val/nats_per_token"].steps == (100,)


def test_of_steps_trained_twice_the_later_are_kept_and_the_time_between_is_not_counted(tmp_path: Path) -> None:
    log(
        tmp_path,
        1000.0,
        {"train/loss": [(49, 10.0, 9.0), (99, 20.0, 8.0), (149, 30.0, 7.0)], "val/loss": [(99, 22, 6)]},
    )
    log(tmp_path, 9000.0, {"train/loss": [(149, 15.0, 5.0), (199, 25.0, 4.0)], "val/loss": [(199, 27.0, 3.0)]})
    read = curves(tmp_path)
    assert read["train/loss"] == Curve("train/loss", (50, 100, 150, 200), (10, 20, 37, 47), (9, 8, 5, 4))
    assert read["val/loss"] == Curve("val/loss", (100, 200), (22, 49), (6, 3))


def test_a_run_begun_anew_forgets_what_was_before(tmp_path: Path) -> None:
    log(tmp_path, 1000.0, {"train/loss": [(49, 10.0, 9.0), (99, 20.0, 8.0)]})
    log(tmp_path, 2000.0, {"train/loss": [(49, 11.0, 7.0)]})
    log(tmp_path, 3000.0, {})
    assert curves(tmp_path)["train/loss"] == Curve("train/loss", (50,), (11.0,), (7.0,))


def test_what_cannot_be_read_is_left_out(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert read_curves(RunFolder(tmp_path / "none")) == ()
    log(tmp_path, 1000.0, {"train/loss": [(49, 10.0, 9.0), (99, 20.0, 8.0)]})
    (file,) = (tmp_path / "logs").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    assert curves(tmp_path)["train/loss"].steps == (50,)
    for damaged in (b"", b"no events" * 50, whole[:20]):
        file.write_bytes(damaged)
        assert read_curves(RunFolder(tmp_path)) == ()
    assert capfd.readouterr() == ("", "")


def test_the_curves_of_a_run_end_with_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    experiments = Path(__file__).parents[2] / "experiments"
    configs = [f"--config={experiments / name}" for name in ("digits/raster_pixels.yaml", "debug/tiny.yaml")]
    words = ["--trainer.max_steps", "4", "--trainer.log_every_n_steps", "2", "--trainer.val_check_interval", "2"]
    assert main(["fit", *configs, *words, "--trainer.accelerator", "cpu"]) == 0
    (path,) = tmp_path.glob("runs/**/summary.json")
    run = RunFolder(path.parent)
    summary, read = run.read_summary(), curves(run.path)
    assert read["train/loss"].steps == (2, 4)
    assert read["val/loss"].steps == (2, 4)
    assert read["val/loss"].values[-1] == pytest.approx(summary["last_figures"]["val/loss"])
    assert 0 < read["val/loss"].seconds[-1] <= summary["seconds"] + 1
