from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import arlab
from arlab.cli.training import main
from arlab.generators.sampler import Sampler
from arlab.images import image_grid
from arlab.rng import mix_seed
from tests.cli.tiny_experiments import FAST, PIXELS, write_experiments

FIT = ["fit", "--config", "experiments/tiny/raster.yaml"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    write_experiments(tmp_path)


def only_run(experiment: str = "runs/tiny/raster") -> Path:
    (run,) = Path(experiment).iterdir()
    return run


def weights(run: Path, steps: int = 12) -> dict[str, torch.Tensor]:
    """Everything that training changes."""
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == steps
    optimizer = checkpoint["optimizer_states"][0]["state"]
    return {
        **{f"averaged {name}": value for name, value in checkpoint["state_dict"].items()},
        **{f"current {name}": value for name, value in checkpoint["current_model_state"].items()},
        **{f"{index} {name}": value for index, state in optimizer.items() for name, value in state.items()},
    }


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_trains_the_tokenizer_first_reuses_it_and_repeats_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(FIT) == 0
    out = capsys.readouterr().out
    vq, raster = only_run("runs/tiny/tokenizers/vq"), only_run()
    first, second = "stage 1 of 2: tokenizer experiments/tiny/tokenizers/vq.yaml", "stage 2 of 2: generator"
    assert out.index(first) < out.index(second)
    assert "step 6/6 · loss" in out
    assert "step 12/12 · loss" in out
    assert out.splitlines()[-2:] == [f"samples: {raster}/samples/step-000012.png", f"run: {raster}"]
    for figure in ("psnr", "usage", "perplexity", "nats_per_token", "nats_per_image", "parameters", "minutes"):
        assert f" {figure} " in out
    for run in (vq, raster):
        for file in ("config.yaml", "summary.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
            assert (run / file).is_file(), file
        assert list((run / "logs").glob("events*"))
    assert {path.name for path in (raster / "samples").iterdir()} == {f"step-{n:06d}.png" for n in (4, 8, 12)}
    assert arlab.load(raster).sample(classes=[3], num_images=1).images.shape == (1, 1, 8, 8)

    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*") if path.is_file()}
    assert main(FIT) == 0
    out = capsys.readouterr().out
    assert f"tokenizer: reusing: {vq}" in out
    assert f"generator: finished already: {raster}" in out
    assert "nats_per_token" in out
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*") if path.is_file()} == before

    assert main(["fit", "--config", str(raster / "config.yaml")]) == 0
    assert f"finished already: {raster}" in capsys.readouterr().out
    assert main([*FIT, "--model.tokenizer", str(vq), "--model.ema_decay", "0.5", "--trainer.max_steps", "1"]) == 0
    assert len(list(Path("runs/tiny/raster").iterdir())) == 2


def test_named_by_its_run_the_tokenizer_gives_the_same_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--trainer.max_steps", "1"]) == 0
    vq = only_run("runs/tiny/tokenizers/vq")
    assert main([*FIT, "--trainer.max_steps", "1", "--model.tokenizer", str(vq)]) == 0
    assert f"finished already: {only_run()}" in capsys.readouterr().out


def test_killed_in_the_first_stage_the_same_command_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    config = Path("experiments/tiny/tokenizers/vq.yaml")
    stopper = "{class_path: tests.cli.tiny_experiments.RaiseAt, init_args: {step: 4}}"
    config.write_text(config.read_text().replace("[Reconstructions]", f"[Reconstructions, {stopper}]"))
    Path("stop").touch()
    assert main(FIT) == 130
    vq = only_run("runs/tiny/tokenizers/vq")
    assert not (vq / "summary.json").exists()
    Path("stop").unlink()
    capsys.readouterr()
    assert main(FIT) == 0
    assert f"going on from {vq}/checkpoints/last.ckpt" in capsys.readouterr().out
    assert only_run("runs/tiny/tokenizers/vq") == vq
    assert json.loads((vq / "summary.json").read_text())["steps"] == 6
    assert (only_run() / "summary.json").exists()


def test_interrupted_anywhere_it_ends_as_if_it_had_not_been(capsys: pytest.CaptureFixture[str]) -> None:
    """Five batches an epoch, validation every four steps: inside, before and at the end of both."""
    assert main([*FIT, *FAST]) == 0
    straight = only_run()
    for step in (0, 2, 3, 4, 9, 11):
        root = f"stopped_{step}"
        stop = f"{{class_path: tests.cli.tiny_experiments.SignalAt, init_args: {{step: {step}}}}}"
        command = [*FIT, *FAST, "--run_root", root, "--trainer.callbacks+", stop]
        Path("stop").touch()
        # Asked to stop in its last step, a run finishes.
        assert main(command) == (130 if step < 11 else 0)
        Path("stop").unlink()
        assert Path(root).joinpath(straight.relative_to("runs"), "checkpoints/last.ckpt").exists()
        assert main(command) == 0
        resumed = Path(root) / straight.relative_to("runs")
        assert_same(weights(straight), weights(resumed))
        figures = [json.loads((run / "summary.json").read_text())["figures"] for run in (straight, resumed)]
        assert figures[0] == figures[1]


@pytest.mark.parametrize(
    ("options", "steps", "stops"),
    [
        pytest.param(
            {"max_epochs": 3, "max_steps": -1, "check_val_every_n_epoch": 2, "val_check_interval": 1.0},
            15,
            (2, 4, 9, 12, 14),
            id="so many epochs, validation after every second",
        ),
        pytest.param(
            {"max_epochs": 4, "max_steps": -1, "limit_train_batches": 1, "limit_val_batches": 0},
            4,
            (0, 2, 3),
            id="epochs of one batch, no validation",
        ),
        pytest.param({"max_steps": 7, "limit_val_batches": 0}, 7, (4, 5), id="so many steps, no validation"),
        pytest.param(
            {"max_steps": 8, "accumulate_grad_batches": 2, "val_check_interval": 3},
            8,
            (0, 1, 2, 5),
            id="gradients accumulate, also over validations and to the end of an epoch",
        ),
    ],
)
def test_resuming_is_exact_whatever_the_schedule(
    options: dict[str, object], steps: int, stops: tuple[int, ...]
) -> None:
    words = [word for key, value in options.items() for word in (f"--trainer.{key}", str(value))]
    command = [*FIT, *FAST, "--trainer.callbacks", "[]", *words]
    assert main(command) == 0
    straight = only_run()
    figures = json.loads((straight / "summary.json").read_text())["figures"]
    assert bool(figures) == (options.get("limit_val_batches") != 0)
    for number, together in enumerate([*((step,) for step in stops), stops]):
        root = f"stopped_{number}"
        for step in together:
            stop = f"{{class_path: tests.cli.tiny_experiments.SignalAt, init_args: {{step: {step}}}}}"
            Path("stop").touch()
            assert main([*command, "--run_root", root, "--trainer.callbacks+", stop]) == (
                130 if step < steps - 1 else 0
            )
            Path("stop").unlink()
        assert main([*command, "--run_root", root]) == 0
        resumed = Path(root) / straight.relative_to("runs")
        assert_same(weights(straight, steps), weights(resumed, steps))
        assert json.loads((resumed / "summary.json").read_text())["figures"] == figures


@pytest.mark.parametrize(
    "words",
    [
        ["--trainer.max_epochs", "1", "--trainer.max_steps", "-1", "--trainer.check_val_every_n_epoch", "2"],
        ["--trainer.max_steps", "2", "--trainer.min_epochs", "3", "--trainer.check_val_every_n_epoch", "1"],
        ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "0"],
    ],
    ids=["the only epoch has no validation", "a minimum that is not reached", "no validation"],
)
def test_a_finished_run_has_a_checkpoint_and_its_figures(words: list[str]) -> None:
    command = [*FIT, *FAST, *words]
    assert main(command) == 0
    run = only_run()
    summary = json.loads((run / "summary.json").read_text())
    validated = "--trainer.limit_val_batches" not in words
    assert ("val/loss" in summary["figures"]) == (run / "checkpoints/best.ckpt").is_file() == validated
    before = weights(run, summary["steps"])
    (run / "summary.json").unlink()
    assert main(command) == 0
    assert_same(before, weights(run, summary["steps"]))


def test_a_run_that_trained_nothing_is_not_finished(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, *FAST, "--trainer.limit_train_batches", "0"]) == 2
    assert "not a single step was trained" in capsys.readouterr().err
    assert not (only_run() / "summary.json").exists()


def test_a_run_may_start_from_the_checkpoint_of_another(capsys: pytest.CaptureFixture[str]) -> None:
    short = [*FIT, *FAST, "--trainer.max_steps", "2"]
    assert main(short) == 0
    first = only_run()
    assert main([*short, "--ckpt_path", "last"]) == 0
    assert f"finished already: {first}" in capsys.readouterr().out
    longer = [*FIT, *FAST, "--trainer.max_steps", "4"]
    assert main([*longer, "--ckpt_path", str(first / "checkpoints/last.ckpt")]) == 0
    assert f"going on from {first}" in capsys.readouterr().out
    (second,) = set(Path("runs/tiny/raster").iterdir()) - {first}
    assert main([*longer, "--ckpt_path", str(first / "checkpoints/last.ckpt")]) == 0
    assert f"finished already: {second}" in capsys.readouterr().out
    assert main(longer) == 0
    assert len(list(Path("runs/tiny/raster").iterdir())) == 3
    (second / "summary.json").unlink()
    assert main([*longer, "--ckpt_path", str(first / "checkpoints/last.ckpt")]) == 0
    assert f"going on from {second}" in capsys.readouterr().out


def test_sigterm_gives_143_and_leaves_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    stop = f"{{class_path: tests.cli.tiny_experiments.SignalAt, step: 2, number: {int(signal.SIGTERM)}}}"
    Path("stop").touch()
    assert main([*FIT, *FAST, "--trainer.callbacks+", stop]) == 143
    assert "stopped by SIGTERM, saved; the same command goes on from there" in capsys.readouterr().err
    assert torch.load(only_run() / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 3


def test_killed_between_the_last_step_and_the_summary_nothing_is_trained_again() -> None:
    assert main([*FIT, *FAST]) == 0
    run = only_run()
    before, figures = weights(run), json.loads((run / "summary.json").read_text())["figures"]
    (run / "summary.json").unlink()
    assert main([*FIT, *FAST]) == 0
    assert_same(before, weights(run))
    assert json.loads((run / "summary.json").read_text())["figures"] == figures


def test_pictures_show_the_averaged_weights_and_do_not_disturb_training() -> None:
    assert main([*FIT, *FAST]) == 0
    assert main([*FIT, *FAST, "--trainer.callbacks", "[]", "--run_root", "blind"]) == 0
    run = only_run()
    assert_same(weights(run), weights(only_run("blind/tiny/raster")))
    trained = arlab.load(run / "checkpoints/last.ckpt").model
    labels = torch.arange(10).repeat_interleave(2)
    images = Sampler().sample(trained, labels, seeds=[mix_seed(0, image) for image in range(20)]).images
    written = np.asarray(Image.open(run / "samples/step-000012.png"))
    assert np.array_equal(written, image_grid(images, 2, scale=2))


def test_evaluation_of_a_run_gives_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", *FIT[1:], *PIXELS]) == 2
    assert "not trained yet; run `arlab fit --config experiments/tiny/raster.yaml` first" in capsys.readouterr().err
    assert main([*FIT, *PIXELS]) == 0
    run = only_run()
    capsys.readouterr()
    for arguments in ([*FIT[1:], *PIXELS], [*FIT[1:], "--ckpt_path", str(run / "checkpoints/best.ckpt")]):
        assert main(["validate", *arguments]) == 0
        out = capsys.readouterr().out
        for name, value in json.loads((run / "summary.json").read_text())["figures"].items():
            assert [f"{value:.4g}"] == [line.split()[1] for line in out.splitlines() if line.split()[:1] == [name]]
    assert main(["test", *FIT[1:], *PIXELS]) == 0
    assert "test/bits_per_dim" in capsys.readouterr().out


def test_a_trial_run_keeps_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (PIXELS, []):
        assert main([*FIT, *words, "--trainer.fast_dev_run"]) == 0
        assert "a trial run, nothing was kept" in capsys.readouterr().out
    assert [path.name for path in Path().iterdir()] == ["experiments"]


def test_a_run_is_trained_by_one_process_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    from arlab.runs.folder import RunFolder

    assert main([*FIT, *FAST, "--trainer.max_steps", "1"]) == 0
    run = only_run()
    (run / "summary.json").unlink()
    with RunFolder(run).locked():
        assert main([*FIT, *FAST, "--trainer.max_steps", "1"]) == 2
    assert capsys.readouterr().err == f"arlab: error: {run}: another process is training this run\n"
