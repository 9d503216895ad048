"""Float32 on the CPU, bf16-mixed where a GPU computes in it; what is configured stays, the impossible is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.accelerators import CPUAccelerator, MPSAccelerator

from arlab.cli import precision
from arlab.cli.precision import choose, describe, in_words
from arlab.cli.training import main
from tests.cli.tiny_experiments import FAST, write_experiments


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the choice can see: the second computes in bfloat16, the first does not."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(precision, "native_bf16", lambda index: index == 1)


@pytest.mark.parametrize("accelerator", ["auto", "cpu", CPUAccelerator()])
def test_the_cpu_computes_in_float32(accelerator: object) -> None:
    assert choose(accelerator, "auto", None) == "32-true"
    assert choose(accelerator, 2, None) == "32-true"
    assert choose(accelerator, 1, "bf16-mixed") == choose(accelerator, 1, "bf16") == "bf16-mixed"
    assert choose(accelerator, 1, 32) == "32-true"


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_computes_in_bfloat16_if_it_can() -> None:
    assert choose("gpu", [1], None) == choose("cuda", "1,", None) == "bf16-mixed"
    assert choose("gpu", [0], None) == choose("gpu", 1, None) == "32-true"
    # One of two cannot.
    assert choose("auto", "auto", None) == choose("gpu", -1, None) == "32-true"
    assert choose("gpu", [1], "32-true") == "32-true"
    assert choose("gpu", [0], 16) == "16-mixed"
    assert choose("cpu", "auto", None) == "32-true"


def test_apples_gpu_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: True))
    monkeypatch.setattr(MPSAccelerator, "parse_devices", staticmethod(lambda devices: [0]))
    assert choose("auto", "auto", None) == choose("gpu", 1, None) == choose("mps", 1, None) == "32-true"


@pytest.mark.parametrize(
    ("accelerator", "devices", "asked", "message"),
    [
        (
            "gpu",
            "auto",
            None,
            r"trainer.accelerator: gpu is not available with torch \S+ on this machine; choose auto or",
        ),
        ("cuda", 1, None, "trainer.accelerator: cuda is not available"),
        ("gpuu", 1, None, "trainer.accelerator: no 'gpuu'. Did you mean 'gpu'"),
        ("cpu", 0, None, "trainer.devices: 0 is not possible on cpu; choose a number of processes"),
        ("cpu", [0, 1], None, r"trainer.devices: \[0, 1\] is not possible on cpu"),
        ("cpu", "many", None, "trainer.devices: many is not possible on cpu"),
        ("cpu", 1, "16-mixed", "trainer.precision: 16-mixed is not possible on cpu; choose from 32-true, bf16-mixed"),
        ("cpu", 1, "bf16-true", "trainer.precision: bf16-true does not keep weights in float32; choose from 32-true"),
        ("cpu", 1, 64, "trainer.precision: 64 does not keep weights in float32; choose from 32-true, bf16-mixed"),
        ("cpu", 1, "transformer-engine", "trainer.precision: transformer-engine does not keep weights in float32"),
    ],
)
def test_the_impossible_is_refused(accelerator: object, devices: object, asked: object, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        choose(accelerator, devices, asked)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("devices", [3, [2], "0,5", 0, "many", []])
def test_devices_beyond_those_there_are_refused(devices: object) -> None:
    expected = r"is not possible on cuda; choose auto, -1, 1 to 2, or a list of numbers from 0 to 1"
    with pytest.raises(ValueError, match=expected):
        choose("gpu", devices, None)


@pytest.mark.usefixtures("two_gpus")
def test_a_gpu_without_bfloat16_is_not_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    with pytest.raises(ValueError, match="bf16-mixed is not possible on cuda; choose from 32-true, 16-mixed"):
        choose("gpu", 1, "bf16-mixed")


def test_told_in_a_line(tmp_path: Path) -> None:
    def trainer(precision: str) -> L.Trainer:
        return L.Trainer(accelerator="cpu", precision=precision, logger=False, default_root_dir=tmp_path)

    assert describe(trainer("32-true"), None) == describe(trainer("32-true"), "32") == "cpu · float32"
    assert describe(trainer("bf16-mixed"), "bf16-mixed") == "cpu · bf16-mixed"
    assert in_words("bf16-mixed", chosen=True) == "bf16-mixed (chosen: trainer.precision is not set)"


# ---- from the command line


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    write_experiments(tmp_path)


@pytest.mark.usefixtures("experiments")
def test_what_was_chosen_is_not_written_into_the_configuration() -> None:
    fit = ["fit", "--config", "experiments/tiny/raster.yaml", *FAST, "--trainer.max_steps", "1"]
    assert main(fit) == 0
    (run,) = Path("runs/tiny/raster").iterdir()
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] is None
    assert main([*fit, "--trainer.precision", "bf16-mixed"]) == 0
    (other,) = set(Path("runs/tiny/raster").iterdir()) - {run}
    assert yaml.safe_load((other / "config.yaml").read_text())["trainer"]["precision"] == "bf16-mixed"


@pytest.mark.usefixtures("experiments")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.accelerator", "gpu"], "arlab: error: trainer.accelerator: gpu is not available"),
        (
            ["--trainer.precision", "16-true"],
            "arlab: error: trainer.precision: 16-true does not keep weights in float32",
        ),
        (["--trainer.devices", "-1"], "arlab: error: trainer.devices: -1 is not possible on cpu"),
    ],
)
def test_the_impossible_is_a_line_and_leaves_nothing(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", "experiments/tiny/raster.yaml", *FAST, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1
    assert not list(Path().glob("runs/**/config.yaml"))


@pytest.mark.slow
@pytest.mark.usefixtures("experiments")
def test_two_processes_train_tokenizer_and_generator() -> None:
    words = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--trainer.max_steps", "4"]
    command = [sys.executable, "-m", "arlab", "fit", "--config", "experiments/tiny/raster.yaml", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nats_per_token") == 1  # only the first process speaks
    for part, steps in (("tokenizers/vq", 6), ("raster", 4)):
        (run,) = Path(f"runs/tiny/{part}").iterdir()
        summary = json.loads((run / "summary.json").read_text())
        assert summary["steps"] == steps
        assert summary["machine"]["processes"] == 2
