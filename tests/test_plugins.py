"""A plugin is a file; what a model was made of is recorded, and nothing else is ever executed."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import arlab
from arlab import plugins
from arlab.cli.main import main
from arlab.plugins import registry, sources
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
    registry._LOADED.clear()
    registry._ORIGIN.clear()
    registry._REFUSED.clear()
    sources._LEFT_OUT.clear()
    for name in [name for name in sys.modules if name.split(".")[0] in (plugins.PACKAGE, "installed_orderings")]:
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


def test_nothing_that_comes_with_a_run_is_executed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(BACKWARDS) == 0
    run = only_run()
    assert main(["export", str(run), "--out", "exported"]) == 0
    executed = times_executed()
    entry = json.loads(Path("exported/arlab.json").read_text())
    entry["plugins"][0]["path"] = "exported/backwards.py"
    Path("exported/arlab.json").write_text(json.dumps(entry))
    checkpoint = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["arlab"]["plugins"][0]["path"] = f"{run}/backwards.py"
    torch.save(checkpoint, run / "checkpoints/best.ckpt")
    for folder in (Path("exported"), run):
        Path("plugins/backwards.py").rename(folder / "backwards.py")
        forget()
        assert main(["sample", str(folder), "--num_images", "1", "--out", "one.png"]) == 2
        missing = "made with the plugin plugins/backwards.py, which is not there; name it: --plugins FILE"
        assert missing in capsys.readouterr().err
        (folder / "backwards.py").rename("plugins/backwards.py")
    assert times_executed() == executed


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("gone.py", None, "plugins: no such file: gone.py"),
        (
            "two words.py",
            "",
            "plugins: two words.py: a plugin is one Python file, named like a Python module (my_ordering.py), or a "
            "folder of such files",
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
    assert re.search(
        r" Backwards +From the last token to the first +plugin plugins/backwards.py", capsys.readouterr().out
    )
    assert main(["describe", "Backwards", "--plugins", "plugins/backwards.py"]) == 0
    out = capsys.readouterr().out
    assert "Backwards  orderings  arlab_plugins.backwards  plugin plugins/backwards.py" in out
    assert "From the last token to the first." in out


# ---- found in the working directory


def test_what_lies_in_plugins_is_found_and_brought_back(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("_hidden", "test_backwards"):
        Path(f"plugins/{name}.py").write_text("raise ValueError('not a plugin')")
    assert main([*FIT, "--model.ordering", "Backwards"]) == 0
    run = only_run()
    assert "plugins:\n- plugins/backwards.py" in (run / "config.yaml").read_text()
    record = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["arlab"]["plugins"]
    sha256 = hashlib.sha256(ORDERING.encode()).hexdigest()
    assert record == [{"module": "arlab_plugins.backwards", "path": "plugins/backwards.py", "sha256": sha256}]
    forget()
    assert main(["sample", str(run), "--num_images", "1", "--out", "one.png"]) == 0
    forget()
    assert main(["fit", "--config", str(run / "config.yaml")]) == 0
    assert "finished already" in capsys.readouterr().out
    forget()
    arlab.load(run)
    assert plugins.used({"class_path": "arlab_plugins.backwards.Backwards"})


def test_an_unused_one_changes_no_run() -> None:
    assert main(FIT) == 0
    run = only_run()
    assert "\nplugins:" not in (run / "config.yaml").read_text()
    forget()
    Path("plugins/backwards.py").unlink()
    assert main(FIT) == 0
    assert only_run() == run


def test_what_is_found_and_changed_is_not_taken_for_what_it_was() -> None:
    plugins.load_found()
    with pytest.raises(ValueError, match=r"as it was \(sha256 ab\), now .*, or name it .*: --plugins plugins/back"):
        plugins.restore([{"module": "arlab_plugins.backwards", "path": "plugins/backwards.py", "sha256": "ab"}])
    plugins.load("plugins/backwards.py")
    plugins.restore([{"module": "arlab_plugins.backwards", "path": "plugins/backwards.py", "sha256": "ab"}])


def test_a_moved_one_with_the_same_content_is_found_in_plugins() -> None:
    sha256 = hashlib.sha256(ORDERING.encode()).hexdigest()
    plugins.restore([{"module": "arlab_plugins.backwards", "path": "gone/backwards.py", "sha256": sha256}])
    assert times_executed() == 1


def test_a_broken_one_is_told_and_fatal_only_where_it_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("plugins/inwards.py").write_text("import torch\n\nclass Inwards(:\n")
    told = "plugins/inwards.py, line 3: SyntaxError: invalid syntax"
    assert main(["list", "orderings"]) == 0
    done = capsys.readouterr()
    assert done.err == f"arlab: plugin left out: {told}\n"
    assert "Backwards" in done.out
    assert main([*FIT, "--model.ordering", "Inwards"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("arlab: error: model.ordering: no class named 'Inwards' is loaded.")
    assert error.endswith(f" Plugin left out: {told}.\n")
    assert main(["describe", "Inwards"]) == 2
    assert capsys.readouterr().err.endswith(f" Plugin left out: {told}.\n")
    assert main([*FIT, "--plugins", "plugins/inwards.py"]) == 2
    assert capsys.readouterr().err == f"arlab: error: plugins: {told}\n"
    forget()
    assert main([*FIT, "--model.ordering", "Backwards"]) == 0
    assert capsys.readouterr().err == f"arlab: plugin left out: {told}\n"


def test_what_a_broken_one_defined_before_it_failed_cannot_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("plugins/late.py").write_text(ORDERING.replace("Backwards", "TooEarly") + "\n1 / 0\n")
    assert main([*FIT, "--model.ordering", "TooEarly"]) == 2
    assert "no class named 'TooEarly' is loaded" in capsys.readouterr().err
    assert main(["list", "orderings"]) == 0
    assert "TooEarly" not in capsys.readouterr().out


def test_a_folder_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine/deeper").mkdir(parents=True)
    Path("mine/one.py").write_text(ORDERING.replace("Backwards", "OneOfMine"))
    Path("mine/two.py").write_text("1 / 0")
    Path("mine/deeper/three.py").write_text("1 / 0")
    Path("mine/_four.py").write_text("1 / 0")
    assert main([*FIT, "--plugins", "mine", "--model.ordering", "OneOfMine"]) == 0
    assert capsys.readouterr().err == (
        "arlab: plugin left out: mine/two.py, line 1: ZeroDivisionError: division by zero\n"
    )
    assert "plugins:\n- mine\n" in Path(only_run() / "config.yaml").read_text()
    assert main(["list", "--plugins", "mine/deeper/.."]) == 0
    assert main(["list", "--plugins", "experiments"]) == 2
    assert "no plugin in experiments/: no *.py that does not begin with '_' or 'test_'" in capsys.readouterr().err


# ---- names that two have


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Raster", "the class Raster has the name of arlab's own, arlab.orderings.raster.Raster; rename it"),
        (
            "Traversal",
            "the class Traversal has the name of arlab's own, arlab.orderings.traversal.Traversal; rename it",
        ),
        ("Backwards", "the class Backwards is in the plugin plugins/backwards.py already; rename one"),
    ],
)
def test_a_clash_is_refused_naming_both(name: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = ORDERING.replace("Backwards", name).replace("import Traversal", "import Traversal as Base")
    Path("other.py").write_text(text.replace("(Traversal)", "(Base)"))
    assert main([*FIT, "--plugins", "plugins/backwards.py", "--plugins", "other.py"]) == 2
    assert capsys.readouterr().err == f"arlab: error: plugins: other.py: {message}\n"
    # The one that came first goes on.
    forget()
    Path("other.py").rename("plugins/other.py")
    assert main(["list", "orderings"]) == 0
    done = capsys.readouterr()
    assert done.err == f"arlab: plugin left out: plugins/other.py: {message}\n"
    assert "plugin plugins/backwards.py" in done.out
    assert "plugin plugins/other.py" not in done.out


def test_what_is_named_goes_before_what_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.py").write_text(ORDERING)
    assert main([*FIT, "--plugins", "mine.py", "--model.ordering", "Backwards"]) == 0
    left_out = "plugins/backwards.py: the class Backwards is in the plugin mine.py already; rename one"
    assert capsys.readouterr().err == f"arlab: plugin left out: {left_out}\n"
    assert "arlab_plugins.mine.Backwards" in Path(only_run() / "config.yaml").read_text()


def test_names_of_another_kind_do_not_clash() -> None:
    Path("square.py").write_text(ORDERING.replace("Backwards", "Square"))  # a shape of frequency bands is called so
    plugins.load("square.py")


# ---- installed


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, with one that has an entry point."""
    site = tmp_path / "site"
    (site / "installed_orderings").mkdir(parents=True)
    (site / "installed_orderings/__init__.py").write_text("from installed_orderings.reverse import Reverse\n")
    (site / "installed_orderings/reverse.py").write_text(ORDERING.replace("Backwards", "Reverse"))
    info = site / "installed_orderings-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-orderings\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[arlab.plugins]\nreverse = installed_orderings\n")
    monkeypatch.syspath_prepend(str(site))
    return site


REVERSE = [*FIT, "--model.ordering", "Reverse"]


def test_an_installed_one_is_found_recorded_and_brought_back(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "orderings"]) == 0
    assert re.search(r" Reverse .* plugin installed-orderings 1.2", capsys.readouterr().out)
    assert main(REVERSE) == 0
    run = only_run()
    record = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["arlab"]["plugins"]
    content = (site / "installed_orderings/reverse.py").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    module = "installed_orderings.reverse"
    assert record == [{"module": module, "path": "installed-orderings 1.2", "sha256": sha256}]
    assert "\nplugins:" not in (run / "config.yaml").read_text()
    forget()
    assert type(arlab.load(run).model.ordering).__name__ == "Reverse"


def test_an_installed_one_that_changed_is_not_executed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(REVERSE) == 0
    run = only_run()
    forget()
    executed = times_executed()
    with (site / "installed_orderings/reverse.py").open("a") as file:
        file.write("# changed\n")
    sample = ["sample", str(run), "--num_images", "1", "--out", "one.png"]
    assert main(sample) == 2
    error = capsys.readouterr().err
    assert "made with the plugin installed_orderings.reverse of installed-orderings 1.2 as it was" in error
    assert error.endswith("is not executed; install that one, or name it to use it as it is: --plugins reverse\n")
    assert times_executed() == executed
    assert main([*sample, "--plugins", "reverse"]) == 0


def test_only_what_says_it_is_a_plugin_is_imported(site: Path) -> None:
    content = (site / "installed_orderings/reverse.py").read_bytes()
    (site / "stranger.py").write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    with pytest.raises(ValueError, match="made with the plugin stranger of somewhere, which is not installed"):
        plugins.restore([{"module": "stranger", "path": "somewhere", "sha256": sha256}])
    assert times_executed() == 0


def test_a_broken_or_clashing_installed_one_is_left_out(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = site / "installed_orderings/reverse.py"
    own.write_text(ORDERING.replace("Backwards", "Raster"))
    (site / "installed_orderings/__init__.py").write_text("import installed_orderings.reverse")
    assert main([*FIT, "--model.ordering", "Raster"]) == 0
    assert capsys.readouterr().err == (
        "arlab: plugin left out: installed_orderings (installed-orderings 1.2): the class Raster has the name of "
        "arlab's own, arlab.orderings.raster.Raster; rename it\n"
    )
    forget()
    own.write_text("1 / 0")
    assert main([*FIT, "--model.ordering", "Raster"]) == 0
    left_out = "installed_orderings (installed-orderings 1.2): ZeroDivisionError: division by zero"
    assert capsys.readouterr().err == f"arlab: plugin left out: {left_out}\n"
