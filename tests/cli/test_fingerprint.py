from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from arlab.cli.arguments import parse
from arlab.cli.experiment import Prepared, from_request
from arlab.cli.fingerprint import difference, key_of
from arlab.cli.training import main
from arlab.discovery import discover
from tests.cli.tiny_experiments import FAST, PIXELS, SignalAt, write_experiments

__all__ = ["SignalAt"]  # a class two modules offer

FIT = ["fit", "--config", "experiments/tiny/raster.yaml", *PIXELS]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    discover()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    write_experiments(tmp_path)


def prepared(*words: str) -> Prepared:
    return from_request(parse([*FIT, *words])).prepare()


def key(*words: str) -> str:
    return prepared(*words).folder.key


@pytest.mark.parametrize(
    "words",
    [
        ["--trainer.accelerator", "auto"],
        ["--trainer.devices", "2"],
        ["--trainer.logger", "false"],
        ["--trainer.callbacks", "[]"],
        ["--trainer.val_check_interval", "2"],
        ["--trainer.enable_progress_bar", "false"],
        ["--data.num_workers", "1"],
        ["--run_root", "elsewhere"],
        ["--ckpt_path", "last"],
        ["--experiment", "other"],
        ["--model.backbone.way_layers", "1"],
        ["--model.head", "arlab.heads.discrete.DiscreteHead"],
        ["--seed_everything", "0"],
        ["--trainer.precision", "null"],
        ["--model.facts", "{source: x, channels: 1, image_size: [8, 8]}"],
    ],
    ids=lambda words: " ".join(words),
)
def test_the_same_run(words: list[str]) -> None:
    if words[0] == "--model.facts":
        names = ", ".join(f"'{digit}'" for digit in range(10))
        words = [words[0], words[1].replace("}", f", class_names: [{names}]}}")]
    assert key(*words) == key()


@pytest.mark.parametrize(
    "words",
    [
        ["--seed_everything", "1"],
        ["--data.seed", "1"],
        ["--data.batch_size", "128"],
        ["--model.backbone.width", "16"],
        ["--model.tokenizer", "VQTokenizer"],
        ["--model.optimizer.learning_rate", "2e-3"],
        ["--trainer.max_steps", "13"],
        ["--trainer.precision", "bf16-mixed"],
        ["--trainer.gradient_clip_val", "1.0"],
    ],
    ids=lambda words: " ".join(words),
)
def test_another_run(words: list[str]) -> None:
    assert key(*words) != key()


def test_an_option_added_later_changes_nothing() -> None:
    run = prepared()
    counted = {**run.settings, "model": {**run.settings["model"]}}
    options = dict(counted["model"]["init_args"])
    added = options.pop("ema_decay")
    assert added == 0.9
    before = {**counted, "model": {**counted["model"], "init_args": options}}
    after = {**counted, "model": {**counted["model"], "init_args": {**options, "ema_decay": 0.999}}}
    assert key_of(before) == key_of(after) != key_of(counted)
    assert difference(before, after) is None


def test_classes_of_others_count_with_their_module() -> None:
    def counted(path: str) -> dict[str, object]:
        run = prepared()
        head = {"class_path": path, "init_args": {}}
        model = {**run.settings["model"], "init_args": {**run.settings["model"]["init_args"], "head": head}}
        return {**run.settings, "model": model}

    assert key_of(counted("tests.cli.tiny_experiments.SignalAt")) != key_of(
        counted("tests.cli.test_fingerprint.SignalAt")
    )


def test_a_changed_default_of_a_part_that_is_not_named_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    command = [*FIT, *FAST, "--trainer.max_steps", "1"]
    assert main(command) == 0
    (run,) = Path("runs/tiny/raster").iterdir()
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["init_args"]["optimizer"] is None
    for name in ("best", "last"):
        path = run / f"checkpoints/{name}.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        checkpoint["arlab"]["model"]["init_args"]["optimizer"]["init_args"]["weight_decay"] = 0.5
        torch.save(checkpoint, path)
    assert main(command) == 2
    assert "(model.optimizer.weight_decay: 0.5 -> 0.05)" in capsys.readouterr().err


def test_a_changed_default_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    command = [*FIT, *FAST, "--trainer.max_steps", "1"]
    assert main(command) == 0
    (run,) = Path("runs/tiny/raster").iterdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"]["init_args"]["head"]["init_args"]["init_std"] = 0.5
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(command) == 2
    assert capsys.readouterr().err == (
        f"arlab: error: {run}: a default has changed since this run was made (model.head.init_std: 0.5 -> 0.02); "
        "set it in the configuration, or move the run away\n"
    )
