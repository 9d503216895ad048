"""A plugin is a file; what a model was made of is recorded, and nothing else is ever executed."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import arlab
from arlab import plugins
from arlab.cli.main import main
from tests.cli.tiny_experiments import FAST, write_experiments

ORDERING = '''
from pathlib import Path
import torch
from arlab.orderings.traversal import Traversal

with Path("executed").open("a") as log:
    log.write("once\\n")


class Backwards(Traversal):
    """From the last token to the first."""

    def groups(self, grid):
        return [torch.tensor([i]) for i in reversed(range(grid[0] * grid[1]))]
'''
FIT = ["fit", "--config", "experiments/tiny/raster.yaml", *FAST, "--trainer.callbacks", "[]"]
BACKWARDS = [*FIT, "--plugins", "plugins/backwards.py", "--model.ordering", "arlab_plugins.backwards.Backwards"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    monkeypatch.setenv("COLUMNS", "140")
    write_experiments(tmp_path)
    Path("plugins").mkdir()
    Path("plugins/backwards.py").write_text(ORDERING)
    forget()
    yield
    forget()


def forget() -> None:
    """As a new process would begin."""
    plugins._LOADED.clear()
    plugins._RESTORED.clear()
    for name in [name for name in sys.modules if name.split(".")[0] == plugins.PACKAGE]:
        del sys.modules[name]


def times_executed() -> int:
    return len(Path("executed").read_text().splitlines()) if Path("executed").exists() else 0


def only_run() -> Path:
    (run,) = Path("runs/tiny/raster").iterdir()
    return run


def test_its_classes_go_by_their_bare_names(capsys: pytest.CaptureFixture[str]) -> None:
    Path("plugins/bare.py").write_text(ORDERING.replace("class Backwards", "class BareBackwards"))
    assert main([*FIT, "--plugins", "plugins/bare.py", "--model.ordering", "BareBackwards"]) == 0
    config = Path(only_run() / "config.yaml").read_text()
    assert "class_path: arlab_plugins.bare.BareBackwards" in config
    assert "plugins:\n- plugins/bare.py" in config


def test_its_checkpoints_bring_it_back(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(BACKWARDS) == 0
    run = only_run()
    record = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["arlab"]["plugins"]
    sha256 = hashlib.sha256(ORDERING.encode()).hexdigest()
    assert record == [{"module": "arlab_plugins.backwards", "path": "plugins/backwards.py", "sha256": sha256}]
    assert times_executed() == 1

    forget()
    assert main(["sample", str(run), "--num_images", "1", "--out", "one.png"]) == 0
    assert times_executed() == 2
    assert main(["export", str(run), "--out", "exported"]) == 0
    forget()
    assert type(arlab.load("exported").model.ordering).__name__ == "Backwards"
    forget()
    assert main(["fit", "--config", str(run / "config.yaml")]) == 0
    assert f"finished already: {run}" in capsys.readouterr().out


def test_a_plugin_that_changed_is_not_executed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(BACKWARDS) == 0
    run = only_run()
    forget()
    Path("plugins/backwards.py").write_text(ORDERING + "# changed\n")
    assert main(["sample", str(run), "--num_images", "1", "--out", "one.png"]) == 2
    old, new = (hashlib.sha256(text.encode()).hexdigest()[:8] for text in (ORDERING, ORDERING + "# changed\n"))
    assert capsys.readouterr().err == (
        f"arlab: error: {run}/checkpoints/best.ckpt: made with the plugin plugins/backwards.py as it was "
        f"(sha256 {old}), now it is another (sha256 {new}) and is not executed; bring it back, or name it to use it as "
        "it is: --plugins plugins/backwards.py\n"
    )
    assert times_executed() == 1
    assert not Path("one.png").exists()
    # The user's own word is enough, and it is another run then.
    named = ["--plugins", "plugins/backwards.py"]
    assert main(["sample", str(run), "--num_images", "1", "--out", "one.png", *named]) == 0
    forget()
    assert main(BACKWARDS) == 0
    assert len(list(Path("runs/tiny/raster").iterdir())) == 2


def test_a_plugin_that_is_gone_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(BACKWARDS) == 0
    forget()
    Path("plugins/backwards.py").rename("elsewhere.py")
    assert main(["sample", str(only_run())]) == 2
    missing = "made with the plugin plugins/backwards.py, which is not there; name it: --plugins FILE"
    assert missing in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.py", None, "plugins: no such file: gone.py"),
        (
            "two words.py",
            "",
            "plugins: two words.py: a plugin is one Python file, named like a Python module: my_ordering.py",
        ),
        ("broken.py", "x = 1\ny = (\n", "plugins: broken.py, line 2: SyntaxError: '(' was never closed"),
        ("failing.py", "x = 1\n\n1 / 0\n", "plugins: failing.py, line 3: ZeroDivisionError: division by zero"),
        ("leaving.py", "raise SystemExit(7)\n", "plugins: leaving.py, line 1: SystemExit: 7"),
        ("lacking.py", "import no_such_thing\n", "plugins: lacking.py, line 1: ModuleNotFoundError: No module named"),
    ],
    ids=lambda value: str(value) if str(value).endswith(".py") else "",
)
def test_what_is_no_plugin_is_told_in_one_line(
    name: str, text: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        Path(name).write_text(text)
    for command in ([*FIT, "--plugins", name], ["list", "orderings", "--plugins", name]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"arlab: error: {message}")
        assert error.count("\n") == 1


def test_two_files_of_one_name_are_refused() -> None:
    plugins.load("plugins/backwards.py")
    plugins.load(Path("plugins/backwards.py").resolve())
    Path("backwards.py").write_text("")
    with pytest.raises(ValueError, match="another file of this name is loaded already"):
        plugins.load("backwards.py")


def test_models_made_with_plugins_of_one_name_do_not_mix() -> None:
    runs = []
    for number, folder in enumerate(("one", "other")):
        Path(folder).mkdir()
        Path(folder, "same.py").write_text(ORDERING + f"# {number}\n")
        named = ["--plugins", f"{folder}/same.py", "--model.ordering", "arlab_plugins.same.Backwards"]
        assert main([*FIT, *named, "--run_root", folder]) == 0
        runs.append(f"{folder}/tiny/raster")
        forget()
    arlab.load(runs[0])
    arlab.load(runs[0])
    with pytest.raises(ValueError, match="but an earlier model brought another of this name"):
        arlab.load(runs[1])


def test_it_is_listed_and_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "orderings", "--plugins", "plugins/backwards.py"]) == 0
    assert "arlab_plugins.backwards" in capsys.readouterr().out
    assert main(["describe", "Backwards", "--plugins", "plugins/backwards.py"]) == 0
    assert "From the last token to the first." in capsys.readouterr().out
