"""Where a run begins: its own last checkpoint, another run's with other settings, or nowhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from arlab.cli.training import main
from tests.cli.tiny_experiments import FAST, write_experiments

FIT = ["fit", "--config", "experiments/tiny/raster.yaml", *FAST, "--trainer.callbacks", "[]"]
RATE = "--model.optimizer.learning_rate"
LAST = ["--ckpt_path", "last"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    write_experiments(tmp_path)


def runs() -> set[Path]:
    return set(Path("runs/tiny/raster").iterdir())


def stopped(step: int, *words: str) -> int:
    """Train, and stop with SIGINT in this step."""
    stop = f"{{class_path: tests.cli.tiny_experiments.SignalAt, init_args: {{step: {step}}}}}"
    Path("stop").touch()
    status = main([*FIT, "--trainer.callbacks+", stop, *words])
    Path("stop").unlink()
    return status


def held(run: Path) -> dict[str, object]:
    checkpoint: dict[str, object] = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    return checkpoint


def test_last_goes_on_where_the_run_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(5) == 130
    (run,) = runs()
    assert main([*FIT, *LAST]) == 0
    out = capsys.readouterr().out
    assert f"going on from {run}/checkpoints/last.ckpt\n" in out
    assert "unlike it" not in out
    assert runs() == {run}


def test_the_configuration_wins_and_what_differs_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(5) == 130
    (first,) = runs()
    changed = [
        *LAST, RATE, "0.005", "--model.optimizer.betas", "[0.5, 0.6]", "--trainer.max_steps", "10",
        "--data.batch_size", "16",
    ]  # fmt: skip
    assert stopped(8, *changed) == 130
    out = capsys.readouterr().out
    start = f"going on from {first}/checkpoints/last.ckpt\n"
    assert [line.strip() for line in out[out.index(start) + len(start) :].splitlines()[:4]] == [
        "unlike it, data.batch_size: 32 -> 16",
        "unlike it, model.optimizer.betas: [0.9, 0.95] -> [0.5, 0.6]",
        "unlike it, model.optimizer.learning_rate: 0.001 -> 0.005",
        "unlike it, trainer.max_steps: 12 -> 10",
    ]
    (second,) = runs() - {first}
    (optimizer,) = held(second)["optimizer_states"]  # type: ignore[misc]
    group = optimizer["param_groups"][0]
    assert group["betas"] == (0.5, 0.6)
    assert group["initial_lr"] == 0.005
    # Nine steps of a warm-up over fifty, at the new peak.
    assert group["lr"] == pytest.approx(0.005 * 10 / 50)

    # The same command goes on with the run it began, not with the one it began from.
    assert main([*FIT, *changed]) == 0
    assert f"going on from {second}/checkpoints/last.ckpt" in capsys.readouterr().out
    assert runs() == {first, second}
    assert held(second)["global_step"] == 10
    config = yaml.safe_load((second / "config.yaml").read_text())
    assert config["start"] == "last"
    record = json.loads((second / "key.json").read_text())
    assert record["start"]["path"] == f"{first}/checkpoints/last.ckpt"
    assert main(["fit", "--config", str(second / "config.yaml")]) == 0
    assert f"finished already: {second}" in capsys.readouterr().out


def test_the_changed_rate_counts_from_the_first_step_on() -> None:
    """A step at rate r from a checkpoint moves the weights by what r says, not by what the checkpoint said."""
    constant = ["--model.optimizer.warmup_steps", "0", "--model.optimizer.final_fraction", "1"]
    assert stopped(5, *constant) == 130
    (first,) = runs()
    before = held(first)["current_model_state"]
    moved = {}
    for rate in ("0.001", "0.004"):
        known = runs()
        words = [
            *constant,
            "--ckpt_path",
            str(first),
            RATE,
            rate,
            "--trainer.max_steps",
            "7",
            "--model.optimizer.weight_decay",
            "0",
        ]
        assert main([*FIT, *words]) == 0
        (second,) = runs() - known
        after = held(second)["current_model_state"]
        name = "slot_embedding.place_table" if "slot_embedding.place_table" in before else next(iter(before))  # type: ignore[operator,call-overload]
        moved[rate] = after[name] - before[name]  # type: ignore[index]
    torch.testing.assert_close(moved["0.004"], 4 * moved["0.001"], rtol=1e-3, atol=1e-7)


def test_weights_that_do_not_fit_are_refused_with_what_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(5) == 130
    (first,) = runs()
    assert main([*FIT, *LAST, "--model.backbone.width", "12"]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1].startswith(
        f"arlab: error: ckpt_path: {first}/checkpoints/last.ckpt: its weights do not fit the model: "
    )
    assert error.endswith("(model.backbone.width: 8 -> 12)\n")
    assert runs() == {first}


def test_what_cannot_be_started_from_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, *LAST]) == 2
    assert (
        capsys.readouterr().err == "arlab: error: ckpt_path: 'last': nothing was trained below runs/tiny/raster yet\n"
    )
    assert main([*FIT, "--trainer.max_steps", "4"]) == 0
    (first,) = runs()
    capsys.readouterr()
    assert main([*FIT, "--ckpt_path", str(first), "--trainer.max_steps", "3"]) == 2
    path = f"{first}/checkpoints/last.ckpt"
    assert capsys.readouterr().err == f"arlab: error: ckpt_path: {path} is at step 4 already; max_steps is 3\n"
    assert main([*FIT, "--ckpt_path", "experiments"]) == 2
    assert capsys.readouterr().err == (
        "arlab: error: ckpt_path: no checkpoint, run or experiment to go on from: experiments\n"
    )
    assert main([*FIT, "--ckpt_path", "experiments/tiny/raster.yaml"]) == 2
    assert capsys.readouterr().err == (
        "arlab: error: ckpt_path: experiments/tiny/raster.yaml: is a configuration, not a run; "
        "train it first: arlab fit --config experiments/tiny/raster.yaml\n"
    )
    assert runs() == {first}


@pytest.mark.parametrize(
    ("best", "kept"),
    [("{metric: val/nats_per_image, higher: true}", 4), ("{metric: val/nats_per_image}", 12), (None, 12)],
)
def test_the_best_is_by_a_named_figure(best: str | None, kept: int) -> None:
    assert main([*FIT, *(["--best", best] if best else [])]) == 0
    (run,) = runs()
    assert torch.load(run / "checkpoints/best.ckpt", weights_only=True)["global_step"] == kept
    assert json.loads((run / "summary.json").read_text())["best_step"] == kept


def test_a_figure_that_is_not_logged_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FIT, "--best.metric", "val/psnr"]) == 2
    assert capsys.readouterr().err == (
        "arlab: error: best.metric: Generator does not log 'val/psnr'; "
        "it logs val/bits_per_dim, val/loss, val/nats_per_image, val/nats_per_token\n"
    )


def test_the_tokenizer_is_adjusted_from_the_generators_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    both = ["fit", "--config", "experiments/tiny/raster.yaml", "--trainer.callbacks", "[]"]
    words = ["--tokenizer.trainer.max_steps", "3", "--tokenizer.model.quantizer.codebook_size", "8"]
    assert main([*both, *words]) == 0
    (vq,) = Path("runs/tiny/tokenizers/vq").iterdir()
    assert json.loads((vq / "summary.json").read_text())["steps"] == 3
    assert "codebook_size: 8" in (vq / "config.yaml").read_text()
    (run,) = runs()
    assert "tokenizer:" not in [line.rstrip() for line in (run / "config.yaml").read_text().splitlines()]
    capsys.readouterr()
    assert main([*both, "--tokenizer.model.quantiser.codebook_size", "8"]) == 2
    assert capsys.readouterr().err.startswith(
        "arlab: error: experiments/tiny/tokenizers/vq.yaml: model: VQTokenizer has no option 'quantiser'. "
        "Did you mean 'quantizer'?"
    )
    assert main([*FIT, *words]) == 0
    assert "tokenizer: its options are not used, since this model's tokenizer comes" in capsys.readouterr().out


def test_a_tokenizer_without_data_of_its_own_takes_the_generators() -> None:
    path = Path("experiments/tiny/tokenizers/vq.yaml")
    tree = yaml.safe_load(path.read_text())
    tree["data"] = {"batch_size": 100}
    path.write_text(yaml.safe_dump(tree))
    words = ["--trainer.callbacks", "[]", "--data.validation_size", "111"]
    assert main(["fit", "--config", "experiments/tiny/raster.yaml", *words]) == 0
    (vq,) = Path("runs/tiny/tokenizers/vq").iterdir()
    data = yaml.safe_load((vq / "config.yaml").read_text())["data"]
    assert data["class_path"] == "arlab.data.digits.Digits"
    assert (data["init_args"]["validation_size"], data["init_args"]["batch_size"]) == (111, 100)


def test_transforms_reach_both_stages_and_evaluation() -> None:
    path = Path("experiments/tiny/tokenizers/vq.yaml")
    tree = yaml.safe_load(path.read_text())
    del tree["data"]
    path.write_text(yaml.safe_dump(tree))
    words = [*FIT[1:3], "--trainer.callbacks", "[]", "--data.transforms", "[RandomFlip]"]
    assert main(["fit", *words]) == 0
    assert main(["validate", *words]) == 0
    for run in Path("runs/tiny").glob("**/config.yaml"):
        (transform,) = yaml.safe_load(run.read_text())["data"]["init_args"]["transforms"]
        assert transform["class_path"] == "arlab.data.transforms.RandomFlip"


def test_what_is_wrong_in_the_tokenizers_experiment_is_told_as_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--tokenizer.data.batch_size", "5000"]
    assert main(["fit", "--config", "experiments/tiny/raster.yaml", *words]) == 2
    assert capsys.readouterr().err == (
        "arlab: error: experiments/tiny/tokenizers/vq.yaml (--tokenizer.KEY VALUE adjusts it): "
        "data.batch_size: 5000 on 1 process needs more than the 1300 training images there are\n"
    )


def test_an_average_is_left_behind_where_none_is_asked_for() -> None:
    assert stopped(5) == 130
    (first,) = runs()
    raw, averaged = held(first)["current_model_state"], held(first)["state_dict"]
    known = runs()
    still = ["--model.ema_decay", "0", RATE, "1e-30", "--trainer.max_steps", "7"]
    assert main([*FIT, "--ckpt_path", str(first.parent), *still]) == 0
    (second,) = runs() - known
    state = held(second)["state_dict"]
    assert all(torch.equal(state[name], raw[name]) for name in raw)  # type: ignore[index, attr-defined]
    assert not all(torch.equal(state[name], averaged[name]) for name in raw)  # type: ignore[index, attr-defined]


def test_without_its_last_checkpoint_a_run_goes_on_from_its_best(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(9) == 130
    (run,) = runs()
    (run / "checkpoints/last.ckpt").unlink()
    assert main(FIT) == 0
    assert f"going on from {run}/checkpoints/best.ckpt" in capsys.readouterr().out
    (run / "summary.json").write_text("{")
    assert main(FIT) == 2
    assert f"{run}/summary.json: not readable; delete it and run the same command again" in capsys.readouterr().err


def test_a_started_run_is_its_own_from_then_on(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever becomes of the run it started from: its command, its configuration and its evaluation find it."""
    assert stopped(5) == 130
    (first,) = runs()
    changed = [RATE, "0.005", "--trainer.max_steps", "10"]
    assert stopped(7, "--ckpt_path", str(first), *changed) == 130
    (second,) = runs() - {first}
    assert main(FIT) == 0
    shutil.rmtree(first)
    capsys.readouterr()
    assert main([*FIT, "--ckpt_path", str(first), *changed]) == 0
    assert f"going on from {second}/checkpoints/last.ckpt" in capsys.readouterr().out
    assert runs() == {second}
    assert main(["fit", "--config", str(second / "config.yaml")]) == 0
    assert f"finished already: {second}" in capsys.readouterr().out
    assert main(["validate", "--config", str(second / "config.yaml")]) == 0
    assert f"validate: {second}/checkpoints/best.ckpt" in capsys.readouterr().out


def test_a_run_goes_on_from_its_last_checkpoint_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(5) == 130
    (run,) = runs()
    best = f"{run}/checkpoints/best.ckpt"
    assert main([*FIT, "--ckpt_path", best]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"arlab: error: ckpt_path: {best} belongs to the run that goes on from {run}/checkpoints/last.ckpt; "
        "leave ckpt_path out to go on, or copy the file elsewhere to start another run from it"
    )
    shutil.copy(best, "elsewhere.ckpt")
    assert main([*FIT, "--ckpt_path", "elsewhere.ckpt"]) == 0
    assert len(runs()) == 2


def test_another_tokenizer_under_the_same_weights_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    both = ["fit", "--config", "experiments/tiny/raster.yaml", "--trainer.callbacks", "[]"]
    assert main([*both, "--trainer.max_steps", "2"]) == 0
    capsys.readouterr()
    assert main([*both, *LAST, "--tokenizer.trainer.max_steps", "3", "--trainer.max_steps", "3"]) == 0
    assert (
        "  unlike it, model.tokenizer: its weights are others, so tokens mean something else\n"
        in capsys.readouterr().out
    )


def test_a_tokenizers_experiment_brings_its_own_plugins() -> None:
    Path("halved.py").write_text(
        "from arlab.tokenizers.losses import L1\n\n\nclass HalvedL1(L1):\n"
        "    def forward(self, reconstruction_BCHW, image_BCHW):\n"
        "        return super().forward(reconstruction_BCHW, image_BCHW) / 2\n"
    )
    path = Path("experiments/tiny/tokenizers/vq.yaml")
    tree = yaml.safe_load(path.read_text())
    tree["plugins"] = ["halved.py"]
    tree["model"]["init_args"]["reconstruction"] = "HalvedL1"
    path.write_text(yaml.safe_dump(tree))
    assert main(["fit", "--config", "experiments/tiny/raster.yaml", "--trainer.callbacks", "[]"]) == 0


def test_a_default_written_out_is_the_same_run() -> None:
    assert main([*FIT, "--trainer.max_steps", "2"]) == 0
    assert main([*FIT, "--trainer.max_steps", "2", "--best.metric", "val/loss"]) == 0
    assert len(runs()) == 1
