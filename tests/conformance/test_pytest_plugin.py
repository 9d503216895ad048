"""``pytest --arlab-plugins=PATH``; without the option pytest is as it was."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGIN = "arlab.conformance.pytest_plugin"
ORDERING = '''
import torch
from arlab.orderings.traversal import Traversal


class Short(Traversal):
    """Leaves out the last token of a row, and takes two axes only."""

    def groups(self, grid):
        if len(grid) != 2:
            raise ValueError(f"ordering: Short walks two axes, got {grid}")
        return list(torch.arange(grid[0] * grid[1] - (grid[0] == 1)).split(1))
'''


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    # In a folder of its own, whose pytest knows nothing of this repository's settings.
    (folder / "short.py").write_text(ORDERING)
    (folder / "test_own.py").write_text("def test_own():\n    pass\n")
    command = [sys.executable, "-m", "pytest", "-p", PLUGIN, "-p", "no:cacheprovider", "-rA", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run says that finds one broken law."""
    some = "own or partition or 2x3-no_leak or 1x4"
    done = run(tmp_path_factory.mktemp("tried"), "--arlab-plugins=short.py", "-k", some)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_it_tries_the_laws_on_a_plugin(tried: str) -> None:
    assert "test_law[Short-2x3-no_leak]" in tried
    assert "LawBrokenError: token (0, 3) is never predicted" in tried
    assert "refused: ordering: Short walks two axes, got (5,)" in tried
    assert "PASSED" in tried
    assert "test_own" not in tried


def test_after_a_broken_law_the_others_of_the_grid_are_skipped(tried: str) -> None:
    assert "1 failed" in tried
    assert "not tried: partition is broken on this grid" in tried


def test_beside_tests_that_are_named(tmp_path: Path) -> None:
    done = run(tmp_path, "--arlab-plugins=short.py", "test_own.py", "--collect-only")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_own" in done.stdout
    assert "test_law[Short-2x3-partition]" in done.stdout


def test_a_mistake_is_told_in_a_line(tmp_path: Path) -> None:
    done = run(tmp_path, "--arlab-plugins=none.py")
    assert done.returncode == 4
    assert "ERROR: plugins: no such file: none.py" in done.stderr


def test_without_the_option_nothing_is_imported_or_run(tmp_path: Path) -> None:
    told = "print('heavy', {'torch', 'lightning', 'rich'} & set(sys.modules))"
    (tmp_path / "conftest.py").write_text(f"import sys\n\n\ndef pytest_unconfigure():\n    {told}\n")
    done = run(tmp_path, "-s")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    assert "heavy set()" in done.stdout


def test_it_is_registered_under_its_own_name() -> None:
    # Naming it with -p, too, would load it twice otherwise.
    entries = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert entries == {PLUGIN: PLUGIN}
