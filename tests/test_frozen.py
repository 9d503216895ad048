"""A run written by arlab 0.1.0 in format 1, before any change since, still loads, samples the same and goes on.

``tests/frozen`` holds it: a tokenizer, and a generator that was stopped at step 8 of 12 (see expected.json).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

import arlab
from arlab.cli.training import main
from arlab.runs import checkpoint
from tests.cli.tiny_experiments import write_experiments

FROZEN = Path(__file__).parent / "frozen"
EXPECTED = json.loads((FROZEN / "expected.json").read_text())
RASTER = Path("runs/tiny/raster/d91f5ee6")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    write_experiments(tmp_path)
    shutil.copytree(FROZEN / "runs", "runs")


def test_it_loads_and_samples_the_same() -> None:
    trained = arlab.load(RASTER)
    tokens = trained.sample(classes=[3, 7], num_images=2, seed=5).tokens
    assert tokens.tolist() == EXPECTED["sample_tokens"]
    log_prob = trained.model.log_prob(tokens, torch.tensor([3, 7]))
    torch.testing.assert_close(log_prob, torch.tensor(EXPECTED["log_prob"]), rtol=1e-5, atol=1e-5)


def test_the_same_command_goes_on_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["fit", "--config", "experiments/tiny/raster.yaml", "--trainer.callbacks", "[]"]
    assert main([*command, "--trainer.logger", "false"]) == 0
    out = capsys.readouterr().out
    assert "tokenizer: reusing: runs/tiny/tokenizers/vq/dc05d121" in out
    assert f"going on from {RASTER}/checkpoints/last.ckpt" in out
    figures = json.loads((RASTER / "summary.json").read_text())["figures"]
    assert figures == pytest.approx(EXPECTED["figures_at_step_12"], rel=1e-5)


def test_a_later_format_is_refused_by_number(capsys: pytest.CaptureFixture[str]) -> None:
    path = RASTER / "checkpoints/last.ckpt"
    held = torch.load(path, weights_only=True)
    held[checkpoint.KEY] |= {"format": checkpoint.FORMAT + 1, "version": "9.0"}
    torch.save(held, path)
    refused = f"written in format {checkpoint.FORMAT + 1} by arlab 9.0, this arlab {arlab.__version__} reads up to 1"
    with pytest.raises(ValueError, match=refused):
        arlab.load(RASTER)
    assert main(["fit", "--config", "experiments/tiny/raster.yaml"]) == 2
    assert capsys.readouterr().err == f"arlab: error: {path}: {refused}\n"
