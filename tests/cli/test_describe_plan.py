"""``arlab describe ORDERING --grid 8x6 --out plan.png``."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from arlab.cli.main import main
from arlab.cli.plan import parse_grid

PLUGIN = '''
"""A plugin's ordering."""

import torch

from arlab.orderings.traversal import Traversal


class {name}(Traversal):
    """{name}."""

    def __init__(self) -> None:
        super().__init__()

    def groups(self, grid):
        {body}
'''


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_picture_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "nextneighbor", "--grid", "8x6", "--out", "deep/er/plan.png"]) == 0
    assert capsys.readouterr().out == "deep/er/plan.png  NextNeighbor on 8 x 6: 48 tokens in 13 steps\n"
    assert Image.open("deep/er/plan.png").format == "PNG"
    assert Path("deep/er/plan.png").stat().st_size < 100_000


def test_a_film_has_a_frame_per_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "NextNeighbor", "--grid", "2x3x2", "--out", "plan.gif"]) == 0
    assert "12 tokens in 5 steps, 5 frames" in capsys.readouterr().out
    film = Image.open("plan.gif")
    assert film.format == "GIF"
    assert film.n_frames == 5


def test_options_are_taken(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["describe", "NextScale", "patch_nums=[1, 3, 4]", "level_input=Previous", "markov=true"]
    assert main([*words, "--grid", "4x4", "--out", "plan.png"]) == 0
    assert "26 tokens in 3 steps" in capsys.readouterr().out


def test_parts_are_taken_by_their_bare_names(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = "set_sizes={class_path: CosineSizes, init_args: {num_steps: 3}}"
    assert main(["describe", "Masked", sizes, "choice=ConfidenceChoice", "--grid", "2x3", "--out", "plan.png"]) == 0
    assert "6 tokens in 3 steps" in capsys.readouterr().out
    walk = "order={class_path: Walk, init_args: {traversal: Snake}}"
    assert main(["describe", "RandomCausal", walk, "--grid", "2x3", "--out", "plan.png"]) == 0
    for word, told in (
        (sizes.replace("CosineSizes", "Cosines"), "set_sizes: expected one of ArccosSizes, CosineSizes, LinearSizes"),
        ("set_sizes={num_steps: 3}", "got options without class_path"),
        ("choice=Confident", "choice: expected one of ConfidenceChoice, RandomChoice, got 'Confident'"),
    ):
        assert main(["describe", "Masked", word, "--grid", "2x3", "--out", "plan.png"]) == 2
        assert told in capsys.readouterr().err
    assert main(["describe", "RandomCausal", walk.replace("Snake", "NextX"), "--grid", "2x3", "--out", "plan.png"]) == 2
    assert "order.traversal: expected one of" in capsys.readouterr().err


def test_a_plugin_is_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    Path("drawn_from_the_end.py").write_text(
        PLUGIN.format(name="DrawnFromTheEnd", body="return list(torch.arange(grid[0] * grid[1]).flip(0).split(2))")
    )
    words = ["describe", "DrawnFromTheEnd", "--plugins", "drawn_from_the_end.py", "--grid", "2x3"]
    assert main([*words, "--out", "plan.png"]) == 0
    assert "6 tokens in 3 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Raster", "--grid", "8x6"], "grid: is for a picture of an ordering's plan; say where to: --out plan.png"),
        (["Raster", "width=3"], "width=3: is for a picture of an ordering's plan"),
        (["Raster", "--out", "plan.png"], "out: a picture of an ordering's plan needs a grid of tokens, as --grid 8x6"),
        (["Raster", "--grid", "8x6", "--out", "plan.jpg"], "out: must be a .png or .gif file, got plan.jpg"),
        (["Raster", "--grid", "8x6", "--out", "folder.png"], "out: folder.png is a folder"),
        (["Raster", "--grid", "8x6", "--out", "file/plan.png"], "out: file/plan.png cannot be written, file is no"),
        (["Raster", "--grid", "8x6", "--out", "plan.png", "--bibtex"], "out: --bibtex prints and nothing else"),
        (["Raster", "--grid", "8x0", "--out", "plan.png"], "grid: expected N, HxW or TxHxW with sides of at least 1"),
        (["Raster", "--grid", "8x-1", "--out", "plan.png"], "grid: expected"),
        (["Raster", "--grid", "", "--out", "plan.png"], "grid: expected"),
        (["Raster", "--grid", "1x2x3x4", "--out", "plan.png"], "grid: expected"),
        (["Raster", "--grid", "9" * 5000, "--out", "plan.png"], "grid: expected"),
        (["Raster", "--grid", "65x64", "--out", "plan.gif"], "grid: a plan of at most 4096 tokens can be drawn"),
        (["NextScale", "--grid", "64x64", "--out", "plan.gif"], "grid: a plan of at most 4096 tokens can be drawn"),
        (["Raster", "a=1", "--grid", "8x6", "--out", "plan.png"], "Raster has no option 'a'"),
        (["Raster", "a", "--grid", "8x6", "--out", "plan.png"], "expected options of Raster as KEY=VALUE, got 'a'"),
        (["NextScale", "patch_nums=[5]", "--grid", "4x4", "--out", "plan.png"], "patch_nums"),
        (["NextScale", "level_input=Raster", "--grid", "4x4", "--out", "plan.png"], "expected one of Accumulated"),
        (["Transformer", "--grid", "8x6", "--out", "plan.png"], "Transformer: only an ordering has a plan to draw"),
        (["Traversal", "--grid", "8x6", "--out", "plan.png"], "Traversal: only an ordering has a plan to draw"),
        (["Ordering", "--grid", "8x6", "--out", "plan.png"], "Ordering: only an ordering has a plan to draw"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder.png").mkdir()
    Path("file").touch()
    before = set(Path().rglob("*"))
    assert main(["describe", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("arlab: error: ")
    assert told.count("\n") == 1
    assert message in told
    assert set(Path().rglob("*")) == before


def test_an_ordering_that_is_no_partition_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    Path("drawn_in_part.py").write_text(PLUGIN.format(name="DrawnInPart", body="return [torch.tensor([0])]"))
    words = ["describe", "DrawnInPart", "--plugins", "drawn_in_part.py", "--grid", "2x3", "--out", "plan.png"]
    assert main(words) == 2
    assert "must name each of the 6 cells" in capsys.readouterr().err
    assert not Path("plan.png").exists()


@pytest.mark.parametrize(("word", "grid"), [("8", (8,)), ("8x6", (8, 6)), ("2X3x04", (2, 3, 4))])
def test_grids(word: str, grid: tuple[int, ...]) -> None:
    assert parse_grid(word) == grid
