"""``arlab cache``, and generators trained from what it writes: two stages, resuming, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor

from arlab.cli.main import main
from arlab.data import token_shards
from arlab.data.token_manifest import read_manifest
from arlab.tokenizers.caching import Caching
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.cli.test_exact_resume import COMMON, TOKENIZER, trained

GENERATOR = """
model:
  class_path: Generator
  init_args:
    tokenizer: tokenizer.yaml
    ordering: Masked
    backbone: {class_path: Transformer, init_args: {width: 8, num_layers: 1, attention: {num_heads: 2}, dropout: 0.2}}
    head: DiscreteHead
    ema_decay: 0.9
"""
RASTER = ["--model.ordering", "Raster"]
CACHED = ["--data", "CachedTokens", "--data.folder", "cache/x", "--data.batch_size", "8"]


@pytest.fixture(scope="module")
def with_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, experiments and a trained tokenizer."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("ARLAB_RUNS", raising=False)
        Path("tokenizer.yaml").write_text(TOKENIZER + COMMON)
        Path("generator.yaml").write_text(GENERATOR + COMMON)
        rng = np.random.default_rng(0)
        np.savez("pictures.npz", x=rng.integers(0, 256, (54, 9, 7, 3), dtype=np.uint8), y=np.arange(54) % 3)
        assert main(["fit", "--config", "tokenizer.yaml"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _folder(with_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(with_tokenizer, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that is to be refused; the one line it gives."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == 2
        line = capsys.readouterr().err
        assert line.startswith("arlab: error: ")
        assert line.count("\n") == 1
        return line

    return run


def cache(*options: str, out: str = "cache/x") -> int:
    return main(["cache", "runs/tokenizer", "--out", out, *options])


def fit(*options: str) -> int:
    return main(["fit", "--config", "generator.yaml", *CACHED, *options])


def drafts() -> list[Path]:
    return list(Path().rglob(".*.tmp"))


# ---- writing


def test_a_cache_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cache("--views", "2") == 0
    out = capsys.readouterr().out
    assert "cache/x  44 x 2 views train, 5 validation, 5 test images; 6 tokens of 16 codes in uint8; " in out
    assert out.strip().endswith("images/s")
    before = {path.name: path.stat().st_mtime_ns for path in Path("cache/x").iterdir()}
    assert set(before) == {"cache.json", *(f"{part}-00000.safetensors" for part in ("train", "validation", "test"))}
    assert cache("--views", "2") == 0
    assert capsys.readouterr().out.startswith("finished already: cache/x  44 x 2 views train")
    assert {path.name: path.stat().st_mtime_ns for path in Path("cache/x").iterdir()} == before
    assert drafts() == []
    (run,) = Path("runs/tokenizer").iterdir()
    held = json.loads(Path("cache/x/cache.json").read_text())
    assert held["tokenizer"]["run"] == str(run)
    assert held["torch"] == torch.__version__
    assert held["data"]["spec"]["init_args"]["file"] == "pictures.npz"


def test_data_are_the_runs_own_or_named(told: Callable[..., str]) -> None:
    assert cache() == 0
    assert cache("--data", "generator.yaml", out="named") == 0
    assert read_manifest(Path("named")).content == read_manifest(Path("cache/x")).content
    assert cache("--data.transforms", "[CenterCrop]", "--data.batch_size=5", out="still") == 0
    assert read_manifest(Path("still")).parts["train"].images == 44
    shutil.move("pictures.npz", "moved.npz")
    assert "pictures.npz" in told("cache", "runs/tokenizer", "--out", "other")
    assert cache("--data.file", "moved.npz") == 0
    assert cache("--data", "ImageArrays", "--data.file", "moved.npz", "--data.image_size", "[6, 4]", out="class") == 0


def test_another_cache_in_the_folder_is_refused_by_name(told: Callable[..., str]) -> None:
    assert cache() == 0
    command = ["cache", "runs/tokenizer", "--out", "cache/x"]
    assert "cache/x holds a cache with views: 1, not 2; name another folder, or --overwrite" in told(
        *command, "--views", "2"
    )
    assert "holds a cache of ImageArrays " in told(*command, "--data.transforms", "[CenterCrop]")
    assert main(["fit", "--config", "tokenizer.yaml", "--model.token_width", "2", "--experiment", "other"]) == 0
    line = told("cache", "runs/other", "--out", "cache/x")
    assert "holds a cache made by VQTokenizer " in line
    assert "(runs/tokenizer/" in line
    assert "(runs/other/" in line
    assert main(["cache", "runs/other", "--out", "cache/x", "--overwrite"]) == 0
    assert read_manifest(Path("cache/x")).tokenizer.run.startswith("runs/other/")
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("not a cache")
    for options in ([], ["--overwrite"]):
        assert "mine exists and is no cache of tokens" in told("cache", "runs/tokenizer", "--out", "mine", *options)
    assert Path("mine/thesis.txt").exists()


def test_a_damaged_cache_is_told_and_made_again(told: Callable[..., str]) -> None:
    assert cache() == 0
    shard = Path("cache/x/train-00000.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    assert "cache/x/train-00000.safetensors: has " in told("cache", "runs/tokenizer", "--out", "cache/x")
    assert "cache/x/train-00000.safetensors: has " in told("fit", "--config", "generator.yaml", *CACHED)
    assert not Path("runs/generator").exists()
    assert cache("--overwrite") == 0
    assert fit("--trainer.max_steps", "1") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--views", "0"], "views: must be from 1 to 1000, got 0"),
        (["--views", "many"], "--views: invalid int value: 'many'"),
        (["--dtype", "float16"], "dtype: VQTokenizer gives indices"),
        (["--dtype", "int3"], "invalid choice: 'int3'"),
        (["--views", "2", "--data.transforms", "[CenterCrop]"], "views: 2, but ImageArrays's images are the same"),
        (["--data", "Digits"], "data: the tokenizer and the images differ in channels: 3 against 1"),
        (["--data", "Digts"], "Did you mean 'Digits'?"),
        (["--data", "none.yaml"], "no such file: none.yaml"),
        (["--data.batch_sice", "3"], "Did you mean 'batch_size'?"),
        (["--device", "tpu"], "device: 'tpu' is not available here"),
        (["--veiws", "2"], "Did you mean '--views'?"),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(options: list[str], message: str, told: Callable[..., str]) -> None:
    assert message in told("cache", "runs/tokenizer", "--out", "cache/x", *options)
    assert not list(Path().glob("cache/*"))


def test_nothing_is_half_written(monkeypatch: pytest.MonkeyPatch, told: Callable[..., str]) -> None:
    encoded, calls = VQTokenizer.encoded, []

    def stopped(self: VQTokenizer, image: Tensor) -> Any:
        calls.append(image)
        if len(calls) > 2:
            raise KeyboardInterrupt
        return encoded(self, image)

    with monkeypatch.context() as patch:
        patch.setattr(VQTokenizer, "encoded", stopped)
        assert cache() == 130
    assert list(Path("cache").iterdir()) == []

    def full(*_: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(token_shards, "save_file", full)
        line = told("cache", "runs/tokenizer", "--out", "cache/x")
    assert "train-00000.safetensors: cannot be written: I/O error: No space left on device" in line
    assert list(Path("cache").iterdir()) == []
    # What a killed process left is swept; no process has this number.
    Path("cache/.x.4194305.tmp").mkdir()
    assert cache() == 0
    assert [path.name for path in Path("cache").iterdir()] == ["x"]


# ---- training


def test_a_generator_is_trained_validated_tested_and_sampled(capsys: pytest.CaptureFixture[str]) -> None:
    assert cache("--views", "2") == 0
    grid = ["--trainer.callbacks+", "SampleGrid"]
    assert fit(*RASTER, *grid) == 0
    out = capsys.readouterr().out
    assert "reusing: runs/tokenizer/" in out
    (run,) = Path("runs/generator").iterdir()
    assert len(list((run / "samples").glob("*.png"))) == 3
    for command in ("validate", "test"):
        assert main([command, "--config", "generator.yaml", *CACHED, *RASTER, *grid]) == 0
        assert "nats_per_token" in capsys.readouterr().out
    assert main(["sample", str(run), "--num_images", "3", "--out", "three.png"]) == 0
    assert main(["fit", "--config", "generator.yaml", *CACHED, *RASTER, "--trainer.fast_dev_run", "true"]) == 0
    # A cache that has moved is the same one, one of other views is another.
    shutil.move("cache/x", "elsewhere")
    assert fit(*RASTER, *grid, "--data.folder", "elsewhere") == 0
    assert "finished already" in capsys.readouterr().out
    assert cache() == 0
    assert fit(*RASTER, *grid) == 0
    assert len(list(Path("runs/generator").iterdir())) == 2


def test_losses_are_those_without_a_cache() -> None:
    assert cache("--data.transforms", "[CenterCrop]") == 0
    assert fit("--run_root", "cached", "--model.tokenizer", "runs/tokenizer") == 0
    still = ["--data.transforms", "[CenterCrop]", "--model.tokenizer", "runs/tokenizer"]
    assert main(["fit", "--config", "generator.yaml", *still, "--run_root", "uncached"]) == 0
    (mine, mine_held), (theirs, theirs_held) = trained("generator", "cached"), trained("generator", "uncached")
    assert mine == theirs
    assert all(torch.equal(value, theirs_held[key]) for key, value in mine_held.items())


@pytest.mark.parametrize("how", ["stopped", "dies"])
def test_resuming_is_exact(how: str) -> None:
    assert cache("--views", "2") == 0
    assert fit("--model.tokenizer", "runs/tokenizer", "--run_root", "straight") == 0
    losses, tensors = trained("generator", "straight")
    assert len(losses) == 12
    Path("crash").write_text(f"6 {how}")
    command = ["--model.tokenizer", "runs/tokenizer", "--run_root", how]
    assert fit(*command) == (143 if how == "stopped" else 130)
    assert fit(*command) == 0
    again, same = trained("generator", how)
    assert again == losses
    assert [key for key, value in tensors.items() if not torch.equal(value, same[key])] == []


def test_a_stale_cache_is_refused_by_name(told: Callable[..., str]) -> None:
    assert cache() == 0
    assert main(["fit", "--config", "tokenizer.yaml", "--seed_everything", "1", "--experiment", "other"]) == 0
    line = told("fit", "--config", "generator.yaml", *CACHED, "--model.tokenizer", "runs/other")
    assert "data.folder: cache/x is stale: its tokens were made by VQTokenizer " in line
    assert "(runs/tokenizer/" in line
    assert "this generator's tokenizer is VQTokenizer " in line
    assert not Path("runs/generator").exists()


def test_tokens_are_no_images_for_a_tokenizer(told: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cache() == 0
    Path("anywhere.yaml").write_text(Path("tokenizer.yaml").read_text().split("data:")[0] + "data: {batch_size: 4}\n")
    named = ["--model.tokenizer", "anywhere.yaml"]
    line = told("fit", "--config", "generator.yaml", *CACHED, *named)
    assert "model.tokenizer: anywhere.yaml names no data of its own" in line
    assert "CachedTokens holds tokens in place of images" in line
    line = told("fit", "--config", "tokenizer.yaml", *CACHED)
    assert "data: cache/x holds tokens, a VQTokenizer is trained on images" in line
    assert [path.name for path in Path("runs").iterdir()] == ["tokenizer"]
    line = told("cache", "runs/tokenizer", "--data", "CachedTokens", "--data.folder", "cache/x", "--out", "y")
    assert "data: CachedTokens carries tokens already" in line


def test_sigterm_leaves_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def killed(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Caching, "write", killed)
    capsys.readouterr()
    assert cache(out="cache/new") == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "arlab: stopped by SIGTERM, nothing was written\n"
    assert signal.getsignal(signal.SIGTERM) is before
    assert not Path("cache/new").exists()
