"""A mistake is told before anything is trained or written; the answers themselves are in ``wrong_inputs``."""

from __future__ import annotations

from pathlib import Path

import pytest

from arlab.cli.errors import guarded, take_debug
from arlab.cli.training import main
from arlab.runs.interrupted import Interrupted
from tests.cli.tiny_experiments import PIXELS, write_experiments

FIT = ["fit", "--config", "experiments/tiny/raster.yaml", *PIXELS]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    write_experiments(tmp_path)


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
