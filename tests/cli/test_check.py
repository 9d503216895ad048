"""``arlab check``: a file, a class, a kind, an experiment, a run; what it prints and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from arlab import plugins
from arlab.cli.main import main
from arlab.plugins import registry
from tests.cli.tiny_experiments import write_experiments
from tests.tiny_runs import save_run, tiny_generator

SOUND = '''
import torch
from arlab.orderings.traversal import Traversal


class CheckedBackwards(Traversal):
    """From the last token to the first."""

    def groups(self, grid):
        return [torch.tensor([i]) for i in reversed(range(torch.Size(grid).numel()))]
'''
BROKEN = SOUND.replace("CheckedBackwards", "CheckedForgetful").replace("numel()", "numel() - 1")
CALLBACK = '''
from lightning.pytorch import Callback
from arlab.configurable import Configurable


class CheckedCallback(Callback, Configurable):
    """Does nothing."""
'''
SMALL = ["--grid", "2x3", "--grid", "4"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    monkeypatch.setenv("COLUMNS", "140")
    forget()
    yield
    forget()


def forget() -> None:
    """As a new process would begin."""
    registry._LOADED.clear()
    registry._ORIGIN.clear()
    registry._REFUSED.clear()
    for name in [name for name in sys.modules if name.split(".")[0] == plugins.PACKAGE]:
        del sys.modules[name]


def test_a_file_that_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    Path("sound.py").write_text(SOUND)
    assert main(["check", "sound.py", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "CheckedBackwards  ordering" in out
    assert "2x3  4" in out
    assert "no_leak" in out
    assert "all laws hold: 1 ordering" in out


def test_a_file_that_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.py").write_text(BROKEN)
    assert main(["check", "broken.py", *SMALL]) == 1
    out = capsys.readouterr().out
    assert "FAILED partition on 1, no condition slots: token (0,) is never predicted" in out
    assert "the law: Every token is predicted, none twice" in out
    assert "laws are broken by CheckedForgetful" in out


def test_a_folder_of_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/sound.py").write_text(SOUND)
    Path("mine/broken.py").write_text(BROKEN)
    assert main(["check", "mine", "--grid", "1x2"]) == 1
    out = capsys.readouterr().out
    assert "CheckedBackwards" in out
    assert "CheckedForgetful" in out


def test_of_a_folder_what_loads_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/sound.py").write_text(SOUND)
    Path("mine/unreadable.py").write_text("import nothing_of_this_name\n")
    assert main(["check", "mine", "--grid", "1x2"]) == 2
    told = capsys.readouterr()
    assert "all laws hold: 1 ordering" in told.out
    assert told.err.count("\n") == 1
    assert "arlab: error: plugins: mine/unreadable.py, line 1: ModuleNotFoundError" in told.err


def test_a_class_with_options_on_its_own_grid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "NextScale", "patch_nums=[1, 2]", "--grid", "2x2", "--grid", "3x3"]) == 0
    out = capsys.readouterr().out
    assert "refused on 3x3: ordering.patch_nums: the last level is [2, 2]" in out
    assert main(["check", "NextScale", "patch_nums=[1, 2]", "--grid", "3x3"]) == 1
    assert "it takes none of these grids" in capsys.readouterr().out


def test_a_kind_and_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "pyramids", "--grid", "2x3", "--out", "table.md"]) == 0
    assert "all laws hold: 3 pyramids" in capsys.readouterr().out
    assert "| ScalePyramid | 8 | ok |" in Path("table.md").read_text()


def test_an_experiment_and_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiments(tmp_path)
    assert main(["check", "experiments/tiny/raster.yaml"]) == 0
    out = capsys.readouterr().out
    assert "Raster  ordering" in out
    assert "DiscreteHead  head" in out
    assert not Path("runs").exists()
    save_run(tiny_generator(), "runs/tiny/raster/aaaaaaaa")
    assert main(["check", "runs/tiny/raster"]) == 0
    assert "all laws hold: 1 ordering, 1 head" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Rastr"], "no component is called 'Rastr'. Did you mean 'Raster'?"),
        (["Raster", "speed=2"], "check: Raster has no option 'speed'"),
        (["orderings", "speed=2"], "check: unexpected 'speed=2'; orderings is a kind"),
        (["sound.py", "speed=2"], "check: unexpected 'speed=2'; a file's classes are checked with their defaults"),
        (["none.py"], "plugins: no such file: none.py"),
        (["callback.py"], "no laws for CheckedCallback; there are laws for orderings, pyramids, heads, quantizers"),
        (["Transformer"], "check: Transformer: no laws for Transformer; there are laws for orderings"),
        (["none.yaml"], "none.yaml"),
        (["plan.png"], "check: plan.png is nothing that can be checked: a plugin (.py), a folder of plugins"),
        (["empty"], "check: empty/: no .py file in it, and it is no run"),
        (["VQTokenizer", "token_width=4"], "options of a tokenizer stand in an experiment"),
        (["Raster", "--grid", "0x3"], "grid: expected N, HxW or TxHxW"),
        (["Raster", "--grid", "999x999"], "grid: laws are tried on at most 1024 cells, got 999x999"),
        (["Raster", "--out", "table.txt"], "out: must be a .md file, got table.txt"),
        ([], "TARGET"),
    ],
    ids=str,
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("sound.py").write_text(SOUND)
    Path("callback.py").write_text(CALLBACK)
    Path("plan.png").write_bytes(b"")
    Path("empty").mkdir()
    assert main(["check", *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_help_tells_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--help"]) == 0
    assert "1 when one is broken" in capsys.readouterr().out
