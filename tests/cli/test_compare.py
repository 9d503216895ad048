"""``arlab compare``: what is planned, trained, measured and kept, and how it goes on after it was stopped."""

from __future__ import annotations

import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from arlab.cli import compare_plan, compare_rows, compare_training
from arlab.cli.compare_plan import PlannedRow, Wish, make_plan
from arlab.cli.compare_process import Process
from arlab.cli.compare_training import Job
from arlab.cli.main import main
from arlab.compare import cost
from arlab.compare.budget import Budget, FlopBudget, StepBudget
from arlab.compare.measurement import Measurement
from arlab.compare.record import Evaluation, Shown
from arlab.discovery import discover
from arlab.features.classifier import FashionClassifier
from arlab.runs.content import content_of
from arlab.runs.lock import locked
from arlab.runs.resolve import read
from tests.cli.tiny_experiments import write_experiments
from tests.compare.rows import PROTOCOL, evaluation, figures, shown
from tests.tiny_runs import save_run, tiny_generator

RASTER = "experiments/tiny/raster.yaml"
PIXELS = "experiments/tiny/pixels.yaml"
MASKED = "experiments/tiny/masked.yaml"
QUICK = ["--num_images", "12", "--device", "cpu"]
COST = {"images_per_second", "latency", "peak_memory"}
_PIXELS = """
base: raster.yaml
model: {tokenizer: PixelTokenizer}
data: {batch_size: 64}
trainer: {max_steps: 6, val_check_interval: 2, enable_progress_bar: false, callbacks: []}
"""
_MASKED = "base: pixels.yaml\nmodel: {ordering: Masked}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    discover()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    # How fast they are is not looked at here.
    monkeypatch.setattr(cost, "_TIMES", 2)
    write_experiments(tmp_path)
    Path(PIXELS).write_text(_PIXELS)
    Path(MASKED).write_text(_MASKED)


class Ended:
    """A process that has come to its end."""

    def __init__(self, ended: int, said: str) -> None:
        self.ended = ended
        self.said = said

    def status(self) -> int | None:
        return self.ended

    def stop(self, number: int) -> None:
        raise AssertionError("it has ended")

    def error(self) -> str:
        return self.said


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Trainings run in this process; their names."""
    names: list[str] = []

    def start(job: Job, at_once: int) -> Process:
        names.append(job.name)
        return Ended(main(list(job.words)), "what it said last")

    monkeypatch.setattr(compare_training, "start", start)
    return names


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that are measured, quickly: figures and pictures are made up of the weights and the seed."""
    runs: list[str] = []

    def quick(run: str, measurement: Measurement, on_progress: Any) -> tuple[Evaluation, Shown]:
        runs.append(run)
        weights = sum(float(value.double().abs().sum()) for value in read(run)["state_dict"].values())
        content = content_of(Path(run))
        drawn = dataclasses.replace(PROTOCOL, seed=measurement.seed)
        made = figures(weights + measurement.seed, protocol=drawn)
        return evaluation(run=run, content=content, figures=made), shown(seed=measurement.seed)

    monkeypatch.setattr(compare_rows, "evaluate", quick)
    return runs


def plan(*arguments: str, seeds: int = 1, budget: Budget | None = None, shared: tuple[str, ...] = ()) -> Any:
    return make_plan(Wish(arguments, shared, (), seeds, budget, Measurement()))


def keys(row: PlannedRow) -> list[str]:
    return [member.run.key for member in row.members if member.run is not None]


def option(row: PlannedRow, name: str) -> str | None:
    words = row.members[0].words
    return words[words.index(name) + 1] if name in words else None


def told(capsys: pytest.CaptureFixture[str]) -> str:
    line = capsys.readouterr().err
    assert line.startswith("arlab: error: ")
    assert line.count("\n") == 1
    return line


def quality(out: str) -> dict[str, Any]:
    """The figures of every member, those of speed and memory left out."""
    found = {}
    for path in sorted(Path(out, "rows").rglob("evaluation.json")):
        held = json.loads(path.read_text())
        found[path.parent.relative_to(out).as_posix()] = {
            name: figure["value"]
            for kind in ("figures", "tokenizer_figures")
            for name, figure in held[kind].items()
            if name not in COST
        }
    return found


def measured_seeds(out: str) -> list[int]:
    """What the images of each member were drawn with."""
    paths = sorted(Path(out, "rows").rglob("evaluation.json"))
    return [json.loads(path.read_text())["figures"]["kid"]["protocol"]["seed"] for path in paths]


# ---- the plan


def test_seed_0_is_the_run_of_a_plain_fit_and_other_seeds_are_others() -> None:
    assert main(["fit", "--config", PIXELS]) == 0
    (plain,) = Path("runs/tiny/pixels").iterdir()
    (row,) = plan(PIXELS, seeds=3)
    assert row.name == "tiny/pixels"
    assert keys(row)[0] == plain.name
    assert len(set(keys(row))) == 3
    assert [member.trained for member in row.members] == [True, False, False]


def test_tokenizers_are_shared_by_rows_and_seeds() -> None:
    Path("experiments/tiny/hilbert.yaml").write_text("base: raster.yaml\nmodel: {ordering: Hilbert}\n")
    raster, hilbert = plan(RASTER, "experiments/tiny/hilbert.yaml", seeds=2, budget=StepBudget(40))
    assert raster.tokenizer == hilbert.tokenizer
    assert raster.tokenizer.path.parent == Path("runs/tiny/tokenizers/vq")
    assert raster.tokenizer_name == "experiments/tiny/tokenizers/vq.yaml"
    assert len({*keys(raster), *keys(hilbert)}) == 4


def test_files_are_laid_over_an_experiment_by_a_plus_and_over_all_by_with() -> None:
    Path("experiments/overlays").mkdir()
    Path("experiments/overlays/wide.yaml").write_text("model: {backbone: {width: 16}}\n")
    Path("short.yaml").write_text("trainer: {max_steps: 3}\n")
    narrow, wide = plan(PIXELS, f"{PIXELS}+overlays/wide.yaml", shared=("short.yaml",))
    assert (narrow.name, wide.name) == ("tiny/pixels", "tiny/pixels + wide")
    assert narrow.steps == wide.steps == 3
    assert keys(narrow) != keys(wide)
    assert [word for word in wide.members[0].words if word.endswith(".yaml")] == [
        PIXELS,
        "experiments/overlays/wide.yaml",
        "short.yaml",
    ]


def test_experiments_of_one_name_are_told_apart() -> None:
    Path("other").mkdir()
    Path("other/pixels.yaml").write_text(f"base: ../{PIXELS}\nexperiment: tiny/pixels\nmodel: {{ema_decay: 0.5}}\n")
    assert [row.name for row in plan(PIXELS, "other/pixels.yaml")] == [PIXELS, "other/pixels.yaml"]


@pytest.mark.parametrize(
    ("own", "steps", "interval"),
    [
        ("{max_steps: 6, val_check_interval: 2}", 6, None),
        ("{max_steps: 6, val_check_interval: 2}", 30, "10"),
        ("{max_steps: 6, val_check_interval: 2}", 4, "2"),
        # 1597 training images in batches of 64 are 24 an epoch.
        ("{max_steps: -1, max_epochs: 3, val_check_interval: 1.0, check_val_every_n_epoch: 1}", 30, "10"),
        ("{max_steps: -1, max_epochs: 4, val_check_interval: 0.5, check_val_every_n_epoch: 2}", 40, "10"),
        ("{max_steps: 6, max_epochs: 50, val_check_interval: 3}", 12, "6"),
    ],
)
def test_a_budget_of_steps_keeps_the_number_of_validations(own: str, steps: int, interval: str | None) -> None:
    Path("own.yaml").write_text(f"base: {PIXELS}\ntrainer: {own}\n")
    (row,) = plan("own.yaml", budget=StepBudget(steps))
    assert row.steps == steps
    assert option(row, "--trainer.val_check_interval") == interval
    assert option(row, "--trainer.max_steps") == (None if interval is None else str(steps))
    assert (option(row, "--trainer.max_epochs") == "null") == ("max_epochs" in own)


def test_a_budget_an_experiment_has_by_itself_leaves_its_run_the_same() -> None:
    (alone,), (same,), (longer,) = (plan(PIXELS, budget=budget) for budget in (None, StepBudget(6), StepBudget(7)))
    assert alone == same
    assert keys(longer) != keys(alone)


def test_operations_are_counted_on_the_model_with_an_untrained_tokenizer() -> None:
    (row,) = plan(RASTER, budget=FlopBudget(1e9))
    one = 1e9 / row.steps
    assert [plan(RASTER, budget=FlopBudget(total))[0].steps for total in (2e9, 4e9)] == pytest.approx(
        [2e9 / one, 4e9 / one], abs=4
    )
    # Twice as wide takes more, and gradients of two batches are two.
    Path("wide.yaml").write_text("model: {backbone: {width: 16}}\n")
    Path("two.yaml").write_text("trainer: {accumulate_grad_batches: 2}\n")
    wide, two = plan(f"{RASTER}+wide.yaml", f"{RASTER}+two.yaml", budget=FlopBudget(1e9))
    assert wide.steps < row.steps
    assert two.steps in (row.steps // 2, row.steps // 2 + 1)


def test_the_plan_is_shown_and_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().rglob("*"))
    assert main(["compare", RASTER, PIXELS, "--seeds", "2", "--plan"]) == 0
    out = capsys.readouterr().out
    assert out.count("to train") == 5
    assert "comparison: comparisons/" in out
    assert "measured: as many generated as there are validation images, in the features of fashion_" in out
    assert sorted(Path().rglob("*")) == before


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: EXPERIMENT|RUN"),
        (["experiments/tiny/rastr.yaml"], f"no such experiment: experiments/tiny/rastr.yaml. Did you mean {RASTER}?"),
        (["experiments/tiny/raster"], "no run of this name; the experiment is experiments/tiny/raster.yaml"),
        (["runs/tiny/rastr"], "runs/tiny/rastr: no run, experiment, checkpoint or export here"),
        ([f"{PIXELS}+nothing.yaml"], f"{PIXELS}+nothing.yaml: no such experiment: nothing.yaml"),
        ([PIXELS, "--with", "nothing.yaml"], "no such experiment: nothing.yaml"),
        ([PIXELS, PIXELS], f"{PIXELS}: is a row already"),
        ([PIXELS, ""], "rows: one is empty; name an experiment or a run"),
        ([PIXELS, f"./{PIXELS}"], f"./{PIXELS}: its run is in the row of {PIXELS} already"),
        (["runs/4x3/tiny"], "runs/4x3/tiny: run: does not say which data it was trained on"),
        (["experiments/tiny/tokenizers/vq.yaml"], "makes a tokenizer; compare trains generators"),
        (["runs/tokenizer"], "is a PixelTokenizer; compare measures generators"),
        ([PIXELS, "emoji.yaml"], f"emoji.yaml: is of other data than {PIXELS}, and nothing of them compares; source: "),
        (["wrong.yaml"], "wrong.yaml: model.head: "),
        (["wide.yaml"], "wide.yaml: "),
        (["tokenizer.yaml"], "tokenizer.yaml: experiments/tiny/tokenizers/vq.yaml: "),
        (["endless.yaml"], "endless.yaml: trainer.max_steps: missing"),
        (["trial.yaml"], "trial.yaml: trainer.fast_dev_run: keeps nothing"),
        (["clock.yaml", "--budget", "steps=9"], "clock.yaml: trainer.max_time: ends a run by the clock"),
        ([PIXELS, "--budget", "steps=none"], "budget: steps: expected a whole number, got 'none'"),
        ([PIXELS, "--budget", "flops=1e3"], f"{PIXELS}: budget: flops=1000 is not enough for one step"),
        ([PIXELS, "--seeds", "0"], "seeds: must be from 1 to 1000, got 0"),
        ([PIXELS, "--jobs", "0"], "jobs: must be from 1 to 256, got 0"),
        ([PIXELS, "--num_images", "0"], "num_images: must be from "),
        ([PIXELS, "--num_images", "100001"], "num_images: must be from 8 to 100000, got 100001"),
        ([PIXELS, "--network", "Incepton"], "network: no FeatureNetwork is called 'Incepton'"),
        (
            [PIXELS, "--network", "ModuleNetwork", "module=torch.nn.Identity", "channels=1"],
            f"{PIXELS}: torch.nn.Identity (untrained): must give features",
        ),
        ([PIXELS, "--device", "tpu"], "device: 'tpu' is not available here"),
        ([PIXELS, "--out", "experiments"], "out: experiments is not empty and holds no comparison"),
        ([PIXELS, "--out", PIXELS], f"out: {PIXELS} is a file"),
        ([PIXELS, "--seed", "-1"], "seed: must be at least 0"),
        ([PIXELS, "--sede", "1"], "Did you mean '--seed'?"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_trained(
    arguments: list[str], message: str, started: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    generator = tiny_generator()
    save_run(generator, "runs/4x3/tiny/aaaaaaaa")
    save_run(generator.tokenizer.module, "runs/tokenizer/aaaaaaaa")
    for name, text in (
        ("emoji", "data: Emoji\n"),
        ("wrong", "model: {head: DiscretHead}\n"),
        ("wide", "model: {backbone: {width: 15}}\n"),
        ("tokenizer", "tokenizer: {model: {quantizer: {codebook_size: 1}}}\n"),
        ("endless", "trainer: {max_steps: -1}\n"),
        ("trial", "trainer: {fast_dev_run: true}\n"),
        ("clock", "trainer: {max_time: '00:01:00:00'}\n"),
    ):
        Path(f"{name}.yaml").write_text(f"base: {RASTER if name == 'tokenizer' else PIXELS}\n{text}")
    before = sorted(Path().rglob("*"))
    assert main(["compare", *arguments]) == 2
    assert message in told(capsys)
    assert not started
    assert sorted(Path().rglob("*")) == before


def test_all_mistakes_of_all_arguments_are_told_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.yaml").write_text(f"base: {PIXELS}\nmodel: {{head: DiscretHead}}\n")
    assert main(["compare", "wrong.yaml", PIXELS, "runs/nothing", "nowhere.yaml"]) == 2
    line = told(capsys)
    assert all(f"{name}: " in line for name in ("wrong.yaml", "runs/nothing", "nowhere.yaml"))


def test_what_the_head_cannot_do_is_told_before_it_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    Path("gaussian.yaml").write_text(f"base: {RASTER}\nmodel: {{tokenizer: tokenizers/kl.yaml, head: FlowHead}}\n")
    Path("tokenizers").mkdir()
    Path("tokenizers/kl.yaml").write_text(
        "base: ../experiments/tiny/tokenizers/vq.yaml\nmodel: {class_path: KLTokenizer, token_width: 4, autoencoder: "
        "{class_path: ConvAutoencoder, channels: 8, channel_multipliers: [1, 1], res_blocks: 1}}\n"
    )
    assert main(["compare", "gaussian.yaml", "--top_k", "3"]) == 2
    assert "gaussian.yaml: top_k: " in told(capsys)


# ---- training, measuring, going on


def test_a_second_call_trains_and_measures_nothing_and_says_the_same(
    started: list[str], measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", PIXELS, "--seeds", "2", "--budget", "steps=5", "--out", "out", *QUICK]
    assert main(command) == 0
    names = ["tiny/pixels, seed 0", "tiny/pixels, seed 1"]
    assert started == names
    assert len(measured) == 2
    first, said = quality("out"), capsys.readouterr().out
    assert len(first) == 2
    assert measured_seeds("out") == [0, 1]
    assert "its own runs differ" not in Path("out/table.md").read_text()
    assert {Path("out", name).is_file() for name in ("report.html", "metrics.json", "table.md", "table.csv")} == {True}
    assert "report: out/report.html" in said
    assert main(command) == 0
    assert started == names
    assert len(measured) == 2
    assert quality("out") == first
    # Another measurement is another thing to know, and so is a file that cannot be read.
    Path("out/rows/tiny-pixels/0/evaluation.json").write_text("{")
    assert main(command) == 0
    assert len(measured) == 3
    assert quality("out") == first
    assert main([*command, "--seed", "1"]) == 0
    assert len(measured) == 5
    assert started == names
    assert quality("out") != first


def test_a_run_is_a_row_as_it_is_whatever_the_budget(
    started: list[str], measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", PIXELS]) == 0
    (run,) = Path("runs/tiny/pixels").iterdir()
    assert main(["export", str(run), "--out", "exported"]) == 0
    Path("exported/notes").mkdir()
    rows = [MASKED, str(run), "exported", "--budget", "steps=4"]
    assert main(["compare", *rows, *QUICK, "--out", "out"]) == 0
    assert started == ["tiny/masked, seed 0"]
    (masked,) = (path.parent for path in Path("runs/tiny/masked").glob("*/summary.json"))
    assert measured == [str(masked / "checkpoints/best.ckpt"), str(run / "checkpoints/best.ckpt"), "exported"]
    of_run, of_export = (quality("out")[f"rows/{name}/run"] for name in (str(run).replace("/", "-"), "exported"))
    assert of_run == of_export
    assert started == ["tiny/masked, seed 0"]
    # The same file by another name is the same row.
    for other in ("runs/tiny/pixels", f"{run}/checkpoints/best.ckpt", PIXELS):
        capsys.readouterr()
        assert main(["compare", str(run), other]) == 2
        assert f"{other}: its run is in the row of {run} already" in told(capsys)
    # Beside runs only, what is said of trainings would do nothing.
    for key, value in (("budget", "steps=4"), ("seeds", "3"), ("with", MASKED)):
        assert main(["compare", str(run), f"--{key}", value, "--plan"]) == 2
        assert f"{key}: all rows are runs, which are as they are; leave it out" in told(capsys)


def test_what_a_row_was_measured_by_is_all_that_it_depends_on(
    started: list[str], measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["compare", PIXELS, *QUICK, "--out", "out"]
    assert main(command) == 0
    # A device by its name and the one there is; the shipped network and the same by its name.
    assert main([*command[:-2], "--out", "out", "--network", "FashionClassifier"]) == 0
    assert len(measured) == 1
    monkeypatch.setattr(compare_plan, "_images", lambda data: "others")
    assert main(command) == 0
    assert len(measured) == 2
    monkeypatch.setattr(FashionClassifier, "weights_hash", "others")
    assert main([*command, "--network", "FashionClassifier"]) == 0
    assert len(measured) == 3


def test_pictures_of_one_measurement_never_stand_beside_figures_of_another(
    started: list[str], measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["compare", PIXELS, *QUICK, "--out", "out"]
    assert main(command) == 0

    def killed(*_: object) -> None:
        raise OSError("killed before the figures were written")

    with monkeypatch.context() as patch:
        patch.setattr(compare_rows, "write_evaluation", killed)
        assert main([*command, "--seed", "1"]) == 2
    assert main(command) == 0
    assert len(measured) == 3


def test_a_run_whose_training_images_are_gone_is_a_row_without_its_operations(
    started: list[str], measured: list[str]
) -> None:
    assert main(["fit", "--config", PIXELS]) == 0
    (run,) = Path("runs/tiny/pixels").iterdir()
    for number, data in enumerate(("Digits", "CachedTokens")):
        config = yaml.safe_load((run / "config.yaml").read_text())
        if number:
            config["data"] = {"class_path": "arlab.data.cached.CachedTokens", "init_args": {"folder": "nowhere"}}
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        assert main(["compare", str(run), *QUICK, "--out", data]) == 0
        (member,) = json.loads(Path(data, "metrics.json").read_text())["rows"][0]["members"]
        assert (member["training"]["flops"] is None) == (data == "CachedTokens")


def test_a_run_is_no_place_for_a_report_and_two_comparisons_do_not_share_one(
    started: list[str], measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", PIXELS]) == 0
    (run,) = Path("runs/tiny/pixels").iterdir()
    (run / "metrics.json").write_text("{}")
    capsys.readouterr()
    assert main(["compare", PIXELS, *QUICK, "--out", str(run)]) == 2
    assert f"out: {run} is a run, whose figures would be lost" in told(capsys)
    assert (run / "metrics.json").read_text() == "{}"
    with locked(Path("out/.comparison"), ""):
        assert main(["compare", PIXELS, *QUICK, "--out", "out"]) == 2
    assert "out: another arlab compare is at work in out" in told(capsys)
    assert not measured
    # A comparison that came no further than this is one.
    assert main(["compare", PIXELS, *QUICK, "--out", "out"]) == 0


def test_stopped_in_the_middle_it_goes_on_and_ends_with_the_same_quality(
    started: list[str], measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stop = "{class_path: tests.cli.tiny_experiments.SignalAt, init_args: {step: 3}}"
    Path("stopping.yaml").write_text(f"trainer: {{callbacks+: {stop}}}\n")
    command = ["compare", PIXELS, MASKED, *QUICK, "--with", "stopping.yaml"]
    assert main([*command, "--out", "straight"]) == 0
    straight = quality("straight")
    Path("runs").rename("finished runs")
    Path("stop").touch()
    capsys.readouterr()
    assert main([*command, "--out", "stopped"]) == 2
    Path("stop").unlink()
    assert not quality("stopped")
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("arlab: error: 2 of 2 trainings failed, so there is nothing to compare yet; ")
    assert "tiny/masked, seed 0: what it said last (log: stopped/logs/tiny-masked-0.txt)" in line
    assert list(Path("runs").rglob("last.ckpt"))
    assert not list(Path("runs").rglob("summary.json"))
    assert main([*command, "--out", "stopped"]) == 0
    assert quality("stopped") == straight


def test_the_same_comparison_twice_gives_the_same_quality(started: list[str]) -> None:
    for out in ("one", "two"):
        assert main(["compare", PIXELS, *QUICK, "--out", out]) == 0
        Path("runs").rename(f"runs of {out}")
    one = quality("one")
    assert len(one["rows/tiny-pixels/0"]) > 10
    # What is not a number is told as nothing.
    assert one == quality("two")


def test_one_training_that_fails_leaves_the_others_and_is_tried_again(
    started: list[str], measured: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARLAB_RUNS", "elsewhere")
    command = ["compare", PIXELS, MASKED, *QUICK]
    with monkeypatch.context() as patch:
        start = compare_training.start

        def failing(job: Job, at_once: int) -> Process:
            return Ended(1, "no space left") if "pixels" in job.name else start(job, at_once)

        patch.setattr(compare_training, "start", failing)
        assert main(command) == 2
    assert "1 of 2 trainings failed" in (line := told(capsys))
    assert "tiny/pixels, seed 0: no space left (log: comparisons/" in line
    assert started == ["tiny/masked, seed 0"]
    assert main(command) == 0
    assert started == ["tiny/masked, seed 0", "tiny/pixels, seed 0"]
    assert len(list(Path("comparisons").iterdir())) == 1


def test_ctrl_c_is_passed_on_to_all_and_each_saves() -> None:
    """With real processes, two at a time."""
    Path("longer.yaml").write_text("trainer: {max_steps: 2000, val_check_interval: 20}\n")
    rows = [RASTER, PIXELS, MASKED]
    command = [*rows, *QUICK, "--with", "longer.yaml", "--out", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "arlab", "compare", *command, "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 200
    # Both that run at a time have begun, one of them with its tokenizer.
    while len({path.parents[2] for path in Path("runs").rglob("last.ckpt")}) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, said
    assert "stopped by SIGINT, saved; the same command goes on from there" in said
    assert "training 2 of 3: tiny/pixels, seed 0 (out/logs/tiny-pixels-0.txt)" in said
    assert "stopped by SIGINT, saved" in Path("out/logs/tiny-pixels-0.txt").read_text()
    assert not list(Path("runs/tiny/pixels").rglob("summary.json"))
