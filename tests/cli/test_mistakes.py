"""A mistake is told in one line, with status 2, before anything is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.cli.errors import guarded, take_debug
from arlab.cli.training import main
from arlab.runs.interrupted import Interrupted
from tests.cli.tiny_experiments import PIXELS, write_experiments

FIT = ["fit", "--config", "experiments/tiny/raster.yaml", *PIXELS]
GENERATOR = "backbone, conditioner, ema_decay, facts, head, objective, optimizer, ordering, seed, tokenizer"
TOP = "ckpt_path, data, experiment, model, run_root, seed_everything, trainer"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    write_experiments(tmp_path)
    Path("broken.yaml").write_text("model:\n  class_path: [1\ndata: x\n")
    Path("list.yaml").write_text("- 1\n")
    Path("base.yaml").write_text("base: nowhere.yaml\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "nope.yaml"], "config: no such file: nope.yaml"),
        (["--config", "broken.yaml"], "broken.yaml, line 3: expected ',' or ']', but got ':'"),
        (["--config", "list.yaml"], "list.yaml: expected keys and values, got list"),
        (
            ["--config", "base.yaml"],
            "base.yaml: base: no file 'nowhere.yaml' beside it, above it or in the working directory",
        ),
        (["--config"], "--config: needs a file"),
        (["oops"], "unexpected 'oops' on the command line; options are --KEY VALUE"),
        (["--modle.seed", "1"], f"unknown key 'modle'. Did you mean 'model'? Known: {TOP}."),
        (
            ["--model.ordring", "X"],
            f"model: Generator has no option 'ordring'. Did you mean 'ordering'? Known: {GENERATOR}.",
        ),
        (["--trainer.max_step", "5"], "trainer: Trainer has no option 'max_step'. Did you mean 'max_steps'?"),
        (
            ["--trainer.max_steps", "-1"],
            "trainer.max_steps: missing; say how long to train (or trainer.max_epochs)",
        ),
        (
            ["--trainer.max_steps", "-1", "--trainer.max_time", "00:00:01:00"],
            "trainer.max_steps: missing; say how long to train (or trainer.max_epochs)",
        ),
        (
            ["--trainer.default_root_dir", "here"],
            "trainer.default_root_dir: got 'here'; runs lie below --run_root, use that",
        ),
        (["--trainer.max_steps", "few"], "trainer.max_steps: expected int, got 'few'"),
        (["--model.backbone.width", "four"], "model.backbone.width: expected int, got 'four'"),
        (["--model.backbone.attention.num_head", "2"], None),
        (["--model.ordering", "Rastr"], None),
        (
            ["--model.ordering", "arlab.orderings.raster.Nope"],
            "model.ordering: module 'arlab.orderings.raster' has no class 'Nope'",
        ),
        (["--model.ordering", "no_such.Ordering"], "model.ordering: no_such.Ordering: No module named 'no_such'"),
        (
            ["--model.backbone.rotary.base", "3"],
            "model.backbone.rotary: has options but no class_path; name a class first, one of AxialRotary, NoRotary",
        ),
        (["--model.tokenizer", "nothing.yaml"], "model.tokenizer: no such experiment: nothing.yaml"),
        (
            ["--model.tokenizer", "experiments/tiny/raster.yaml"],
            "model.tokenizer: experiments/tiny/raster.yaml makes a generator, not a tokenizer",
        ),
        (["--model.tokenizer", "PixelTokenzier"], None),
        (["--model.facts.channels", "3"], "model.facts: channels: 3 against 1 of the data (Digits)"),
        (["--model.tokenizer.facts.image_size", "[9, 8]"], None),
        (["--data.batch_size", "0"], "data.batch_size: must be at least 1, got 0"),
        (["--ckpt_path", "nope.ckpt"], "ckpt_path: no such checkpoint: nope.ckpt"),
        (["--trainer.callbacks.num_per_class", "0"], None),
        (["--trainer.callbacks+", "SampleGird"], None),
        (["--model.help", "Generator"], "--model.help: see `arlab describe Generator`"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value or []),
)
def test_one_line(words: list[str], message: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    partial = {
        "num_head": "model.backbone.attention: Attention has no option 'num_head'. Did you mean 'num_heads'? Known: ",
        "Rastr": "model.ordering: no class named 'Rastr' is loaded. Did you mean 'Raster'? Known: ",
        "PixelTokenzier": "model.tokenizer: no class, run, checkpoint or experiment 'PixelTokenzier'. "
        "Did you mean 'PixelTokenizer'? Known: ",
        "image_size": "model.tokenizer.facts: image_size: (9, 8) against (8, 8) of the data (Digits)",
        "num_per_class": "trainer: num_per_class, num_classes, scale: must be at least 1, got 0, 10, 2",
        "SampleGird": "trainer.callbacks[1]: no class named 'SampleGird' is loaded. Did you mean 'SampleGrid'?",
    }
    assert main([*FIT, *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    if message is not None:
        assert captured.err == f"arlab: error: {message}\n"
    else:
        (expected,) = [text for key, text in partial.items() if any(key in word for word in words)]
        assert captured.err.startswith(f"arlab: error: {expected}")
    assert not Path("runs").exists()


def test_what_is_missing_is_named_with_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit"]) == 2
    assert main(["fit", "--model", "Generator", "--data", "Digits"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first == "arlab: error: model: missing; give --config FILE or --model NAME"
    before, _, choices = second.partition("one of ")
    assert before == "arlab: error: model.tokenizer: Generator needs it, "
    # Tokenizers that other tests define are choices, too, where all run in one process.
    assert {"PixelTokenizer", "VQTokenizer"} <= set(choices.removesuffix(".").split(", "))


def test_a_tokenizer_with_nothing_to_learn_is_not_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--model", "PixelTokenizer", "--data", "Digits", "--trainer.max_steps", "1"]) == 2
    assert "PixelTokenizer has nothing to train; name it in a generator as it is" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.backbone.attention.num_heads", "3"], "num_heads"),
        (["--model.ema_decay", "2"], "ema_decay"),
        (["--trainer.callbacks.num_per_class", "0"], "num_per_class"),
        (["--trainer.max_steps", "-1"], "trainer.max_steps: missing"),
        (["--trainer.precision", "7"], "recision"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_a_generator_is_refused_before_its_tokenizer_is_trained(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", "--config", "experiments/tiny/raster.yaml", *words]) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--config", "experiments/tiny/tokenizers/vq.yaml", "--trainer.callbacks", "[SampleGrid]"],
            "SampleGrid needs a Generator, the model is a VQTokenizer",
        ),
        ([*FIT[1:], "--trainer.callbacks", "[Reconstructions]"], "Reconstructions needs a Tokenizer, the model is a"),
    ],
    ids=["SampleGrid", "Reconstructions"],
)
def test_pictures_of_something_else_are_refused_before_a_step(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *words, "--trainer.val_check_interval", "1000", "--trainer.num_sanity_val_steps", "0"]) == 2
    assert capsys.readouterr().err.startswith(f"arlab: error: trainer.callbacks: {message}")
    assert not list(Path("runs").glob("**/*.ckpt"))


def test_debug_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no such file"):
        main(["fit", "--debug", "--config", "nope.yaml"])
    assert take_debug(["fit", "--debug", "x"]) == (["fit", "x"], True)
    with pytest.raises(ValueError, match="inner"):
        guarded(lambda: guarded(lambda: int("inner")), debug=True)


def test_statuses() -> None:
    def raising(error: BaseException) -> int:
        raise error

    def exits_on_interrupt() -> int:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904

    assert guarded(lambda: raising(FileNotFoundError(2, "No such file or directory", "x.png"))) == 2
    assert guarded(lambda: raising(KeyboardInterrupt())) == 130
    assert guarded(lambda: raising(Interrupted(15))) == 143
    assert guarded(exits_on_interrupt) == 130
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: 1 // 0)


def test_help_needs_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["--config", "missing.yaml", "--help"], ["--config", "-h"]):
        assert main(["fit", *words]) == 0
        assert "--config FILE" in capsys.readouterr().out


def test_print_config_is_a_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model.optimizer.betas", "[0.8, 0.9]", "--model.optimizer.learning_rate", "1e-3"]
    assert main([*FIT, *words, "--print_config"]) == 0
    first = capsys.readouterr().out
    Path("whole.yaml").write_text(first)
    assert main(["fit", "--config", "whole.yaml", "--print_config"]) == 0
    assert capsys.readouterr().out == first
    assert "learning_rate: 0.001" in first
