"""The matrix of orderings and heads: read off real generators, the same in the documentation, one row or column."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from arlab.cli.main import main
from arlab.cli.pairs import markdown_table
from arlab.conformance.pairs import KINDS
from tests.pairs.tiny_pairs import ALL, heads, orderings

DOCUMENTED = Path(__file__).parents[2] / "docs" / "heads.md"
PLUGIN = '''
from torch import Tensor
from arlab.orderings.traversal import Traversal

class Backwards(Traversal):
    """From the last token to the first."""

    def groups(self, grid: tuple[int, ...]) -> list[Tensor]:
        import torch
        return list(torch.arange(torch.Size(grid).numel()).flip(0).split(1))
'''
BROKEN = '''
from arlab.heads.discrete import DiscreteHead

class Careless(DiscreteHead):
    """Fails."""

    def bind(self, *arguments, **named):
        raise RuntimeError("careless")
'''


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Plugins that were loaded by other tests are not looked for here.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "arlab", "list", "pairs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(markdown: str) -> dict[str, dict[str, set[str]]]:
    """What a table of Markdown says: ordering, head, kinds of tokens."""
    header, _, *lines = [line.strip("| ").split(" | ") for line in markdown.strip().splitlines()]
    return {
        name: {head: set(cell.split(", ")) - {"-"} for head, cell in zip(header[1:], cells, strict=True)}
        for name, *cells in lines
    }


def test_the_matrix_is_plain_quick_and_right() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = run()
    assert done.returncode == 0, done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 15
    assert "\x1b" not in done.stdout
    header, *lines = done.stdout.split("\n\n")[0].splitlines()
    assert header.split() == ["ordering", *(cls.__name__ for cls in heads())]
    assert [line.split()[0] for line in lines] == [cls.__name__ for cls in orderings()]
    marks = {"".join(cell.split()) for cell in re.split(r"\s{2,}", next(row for row in lines if " Masked " in row))}
    assert {"csbd", "v"} <= marks
    assert "codes on one grid" in done.stdout
    assert "NextBlock, NextX x " in done.stdout


def test_the_documentation_has_the_matrix() -> None:
    (table,) = re.findall(r"^\| ordering \| BitwiseHead .*\n(?:\|.*\n)+", DOCUMENTED.read_text(), re.MULTILINE)
    assert table.strip() == markdown_table(ALL), "write it anew by: arlab list pairs --markdown"
    told = rows(table)
    for cell in ALL:
        assert (cell.kind.name in told[cell.ordering.__name__][cell.head.__name__]) is cell.works, cell


def test_a_row_is_told_in_full() -> None:
    # In a process of its own: here are the broken parts of other tests, too.
    done = run("nextx")
    assert done.returncode == 0, done.stderr
    assert all(f"\nNextX x {cls.__name__}\n" in done.stdout for cls in heads())
    for kind in KINDS:
        assert done.stdout.count(f"\n  {kind.name:<8} ") == len(heads())
    assert "vectors  works" in done.stdout
    assert "head: FlowHead needs continuous tokens" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pairs", "NextZ"], "Did you mean 'NextX'?"),
        (["orderings", "NextX"], "list: unexpected 'NextX'; it is for the matrix of orderings and heads: arlab list"),
        (["--markdown"], "list: unexpected '--markdown'; it is for the matrix"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_plugins_are_in_it_and_an_error_is_no_refusal() -> None:
    Path("backwards.py").write_text(PLUGIN)
    Path("careless.py").write_text(BROKEN)
    done = run("Backwards", "--plugins", "backwards.py", "--plugins", "careless.py")
    assert done.returncode == 1, done.stderr
    header, row = done.stdout.splitlines()[:2]
    told = dict(zip(header.split(), row.split(), strict=True))
    assert (told["ordering"], told["DiscreteHead"], told["FlowHead"], told["Careless"]) == ("Backwards", "c", "v", "!")
    assert "it raises RuntimeError: careless" in done.stdout
